#pragma once
/*
 * Writes small XML documents. Every value is escaped; what XML cannot carry (control characters,
 * bytes that are not UTF-8) makes the whole document fail, so nothing a user wrote can become
 * markup or vanish. Attributes are pairs of name and value, ended by NULL; a pair without value is
 * left out.
 */
#include "sdk/base/error.h"

typedef struct XmlWriter XmlWriter;

XmlWriter *xml_new(void);
void xml_free(XmlWriter *xml);
void xml_open(XmlWriter *xml, const char *element, ...) G_GNUC_NULL_TERMINATED;
void xml_close(XmlWriter *xml);
/* An element without content. */
void xml_leaf(XmlWriter *xml, const char *element, ...) G_GNUC_NULL_TERMINATED;
/* An element with text and nothing else. */
void xml_text(XmlWriter *xml, const char *element, const char *text);
/* Text within the open element. */
void xml_content(XmlWriter *xml, const char *text);
void xml_number(XmlWriter *xml, const char *element, int64_t number);
/* The text (g_free), once every element is closed. ERROR_INVALID names what it could not carry. */
int xml_finish(XmlWriter *xml, char **ret_text, Error **err);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(XmlWriter, xml_free)

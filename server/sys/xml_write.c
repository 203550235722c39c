#include "server/sys/xml_write.h"
#include <string.h>

struct XmlWriter {
	GString *text;
	GPtrArray *open; /* names of elements, borrowed */
	char *bad;	 /* the first value that cannot be written */
};

XmlWriter *xml_new(void)
{
	XmlWriter *xml = g_new0(XmlWriter, 1);
	xml->text = g_string_new(NULL);
	xml->open = g_ptr_array_new();
	return xml;
}

void xml_free(XmlWriter *xml)
{
	if (!xml)
		return;
	g_string_free(xml->text, TRUE);
	g_ptr_array_unref(xml->open);
	g_free(xml->bad);
	g_free(xml);
}

static gboolean can_carry(const char *value)
{
	if (!g_utf8_validate(value, -1, NULL))
		return FALSE;
	for (const char *at = value; *at; at = g_utf8_next_char(at)) {
		gunichar c = g_utf8_get_char(at);
		if ((c < 0x20 && c != '\t') || c == 0x7f || c == 0xfffe || c == 0xffff)
			return FALSE;
	}
	return TRUE;
}

static void add_value(XmlWriter *xml, const char *value)
{
	if (!can_carry(value)) {
		if (!xml->bad)
			xml->bad = g_strescape(value, NULL);
		return;
	}
	for (const char *at = value; *at; at++)
		switch (*at) {
		case '&':
			g_string_append(xml->text, "&amp;");
			break;
		case '<':
			g_string_append(xml->text, "&lt;");
			break;
		case '>':
			g_string_append(xml->text, "&gt;");
			break;
		case '"':
			g_string_append(xml->text, "&quot;");
			break;
		case '\'':
			g_string_append(xml->text, "&apos;");
			break;
		case '\t':
			g_string_append(xml->text, "&#9;");
			break;
		default:
			g_string_append_c(xml->text, *at);
		}
}

static void begin(XmlWriter *xml, const char *element, va_list attributes)
{
	g_string_append_printf(xml->text, "<%s", element);
	for (const char *name; (name = va_arg(attributes, const char *));) {
		const char *value = va_arg(attributes, const char *);
		if (!value)
			continue;
		g_string_append_printf(xml->text, " %s='", name);
		add_value(xml, value);
		g_string_append_c(xml->text, '\'');
	}
}

void xml_open(XmlWriter *xml, const char *element, ...)
{
	va_list attributes;
	va_start(attributes, element);
	begin(xml, element, attributes);
	va_end(attributes);
	g_string_append(xml->text, ">");
	g_ptr_array_add(xml->open, (void *)element);
}

void xml_close(XmlWriter *xml)
{
	const char *element = g_ptr_array_steal_index(xml->open, xml->open->len - 1);
	g_string_append_printf(xml->text, "</%s>\n", element);
}

void xml_leaf(XmlWriter *xml, const char *element, ...)
{
	va_list attributes;
	va_start(attributes, element);
	begin(xml, element, attributes);
	va_end(attributes);
	g_string_append(xml->text, "/>\n");
}

void xml_text(XmlWriter *xml, const char *element, const char *text)
{
	g_string_append_printf(xml->text, "<%s>", element);
	add_value(xml, text);
	g_string_append_printf(xml->text, "</%s>\n", element);
}

void xml_content(XmlWriter *xml, const char *text)
{
	add_value(xml, text);
}

void xml_number(XmlWriter *xml, const char *element, int64_t number)
{
	g_autofree char *text = g_strdup_printf("%" G_GINT64_FORMAT, number);
	xml_text(xml, element, text);
}

int xml_finish(XmlWriter *xml, char **ret_text, Error **err)
{
	g_assert(xml->open->len == 0);
	if (xml->bad)
		return error_set(
		    err, ERROR_INVALID, "\"%s\" has characters that cannot be passed on", xml->bad);
	*ret_text = g_strdup(xml->text->str);
	return 0;
}

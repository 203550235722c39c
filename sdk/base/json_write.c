#include "sdk/base/json.h"
#include "sdk/base/moment.h"
#include "sdk/base/schema.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct Writer {
	GString *out;
	unsigned recursion, flags;
} Writer;

/* An array whose text json_keep() made. */
typedef struct Kept {
	const void *items;
	size_t n;
	GString *text;
} Kept;

enum { KEPT_MAX = 8 };
static Kept kept[KEPT_MAX];
static gint n_kept; /* atomic: rows below it are complete and never change */

static void write_message(const Writer *w, const ProtobufCMessage *message);

/* Room for n more bytes: GString's own calls check and terminate on every one. */
static inline char *reserve(GString *out, gsize n)
{
	if (out->allocated_len - out->len <= n) {
		gsize length = out->len;
		g_string_set_size(out, 2 * length + n);
		out->len = length;
	}
	return out->str + out->len;
}

static inline void append(GString *out, const char *text, gsize length)
{
	memcpy(reserve(out, length), text, length);
	out->len += length;
	out->str[out->len] = '\0';
}

#define append_literal(out, text) append((out), (text), sizeof(text) - 1)

static inline void append_char(GString *out, char c)
{
	char *to = reserve(out, 1);

	to[0] = c;
	to[1] = '\0';
	out->len++;
}

/* Length of the UTF-8 sequence at p, 0 when it is none. */
static unsigned sequence(const unsigned char *p, const unsigned char *end)
{
	unsigned n = *p < 0xc2 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf5 ? 4 : 0;

	if (!n || (size_t)(end - p) < n)
		return 0;
	for (unsigned i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) ||
	    (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

static gboolean is_line_separator(const unsigned char *p)
{
	return p[0] == 0xe2 && p[1] == 0x80 && (p[2] == 0xa8 || p[2] == 0xa9);
}

static void append_escape(GString *out, unsigned char c)
{
	static const char digits[] = "0123456789abcdef";
	char hex[] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]};
	char two[] = {'\\', (char)c};

	if (c == '\n')
		two[1] = 'n';
	else if (c == '\r')
		two[1] = 'r';
	else if (c == '\t')
		two[1] = 't';
	else if (c != '"' && c != '\\') {
		append(out, hex, sizeof(hex));
		return;
	}
	append(out, two, sizeof(two));
}

/* What a byte of text asks for: 0 goes out as it is, HTML is escaped with JSON_HTML only. */
enum { PLAIN = 0, HTML = 1, SPECIAL = 2 };
__extension__ static const unsigned char classes[256] = {[0 ... 0x1f] = SPECIAL,
    ['"'] = SPECIAL,
    ['\\'] = SPECIAL,
    [0x80 ... 0xff] = SPECIAL,
    ['<'] = HTML,
    ['>'] = HTML,
    ['&'] = HTML};

static inline gboolean is_plain(unsigned char c, unsigned flags)
{
	return classes[c] == PLAIN || (classes[c] == HTML && !(flags & JSON_HTML));
}

/* Bytes of eight that are `c`, or less than n (at most 128), as their high bits; bits above the
 * first hit may be wrong, so only zero or not is looked at. (Hacker's Delight, 6-1.) */
static inline uint64_t bytes_equal(uint64_t word, unsigned char c)
{
	uint64_t x = word ^ (UINT64_C(0x0101010101010101) * c);
	return (x - UINT64_C(0x0101010101010101)) & ~x;
}

static inline uint64_t bytes_below(uint64_t word, unsigned char n)
{
	return (word - UINT64_C(0x0101010101010101) * n) & ~word;
}

/* Whether eight bytes need no look at each: no control, quote, backslash, or beyond ASCII. */
static inline gboolean is_plain_word(const unsigned char *text, unsigned flags)
{
	uint64_t word, hits;
	memcpy(&word, text, sizeof(word));
	hits = word | bytes_below(word, 0x20) | bytes_equal(word, '"') | bytes_equal(word, '\\');
	if (flags & JSON_HTML)
		hits |= bytes_equal(word, '<') | bytes_equal(word, '>') | bytes_equal(word, '&');
	return !(hits & UINT64_C(0x8080808080808080));
}

/* How many bytes from here on go out as they are. */
static size_t plain_length(const unsigned char *text, size_t length, unsigned flags)
{
	size_t i = 0;

	while (i + 8 <= length && is_plain_word(text + i, flags))
		i += 8;
	while (i < length && is_plain(text[i], flags))
		i++;
	return i;
}

/* Writes what stands at p, which is not plain, and says where it ends. */
static const unsigned char *write_special(
    const Writer *w, const unsigned char *p, const unsigned char *end)
{
	unsigned n = *p >= 0x80 ? sequence(p, end) : 0;

	if (n == 3 && is_line_separator(p)) { /* Go escapes U+2028 and U+2029 whatever the flags */
		append(w->out, p[2] == 0xa8 ? "\\u2028" : "\\u2029", 6);
	} else if (n) {
		append(w->out, (const char *)p, n);
	} else if (*p >= 0x80) {
		append_literal(w->out, "\\ufffd");
	} else {
		append_escape(w->out, *p);
	}
	return p + MAX(n, 1u);
}

static void write_text(const Writer *w, const char *text)
{
	const unsigned char *p = (const unsigned char *)(text ? text : "");
	size_t length = strlen((const char *)p);
	const unsigned char *end = p + length;

	reserve(w->out, length + 2);
	append_char(w->out, '"');
	while (p < end) {
		size_t n = plain_length(p, (size_t)(end - p), w->flags);
		append(w->out, (const char *)p, n);
		p += n;
		if (p < end)
			p = write_special(w, p, end);
	}
	append_char(w->out, '"');
}

static void write_unsigned(const Writer *w, uint64_t value)
{
	char digits[20], *p = digits + sizeof(digits);

	do
		*--p = (char)('0' + value % 10);
	while (value /= 10);
	append(w->out, p, (gsize)(digits + sizeof(digits) - p));
}

static void write_signed(const Writer *w, int64_t value)
{
	if (value < 0)
		append_char(w->out, '-');
	write_unsigned(w, value < 0 ? -(uint64_t)value : (uint64_t)value);
}

/* The shortest digits that read back as the same number. */
static void write_double(const Writer *w, double value)
{
	char text[G_ASCII_DTOSTR_BUF_SIZE];

	if (!isfinite(value))
		value = 0; /* JSON has no such number */
	for (int digits = 15; digits <= 17; digits++) {
		char format[] = {'%', '.', '1', (char)('0' + digits - 10), 'g', '\0'};
		g_ascii_formatd(text, sizeof(text), format, value);
		if (g_ascii_strtod(text, NULL) == value)
			break;
	}
	append(w->out, text, strlen(text));
}

static void write_timestamp(const Writer *w, const ProtobufCMessage *message)
{
	g_autofree char *text = moment_message_text(message);

	write_text(w, text);
}

/* What stands for a message that is not there. */
static void write_absent(const Writer *w, const ProtobufCMessageDescriptor *descriptor)
{
	const JsonMessage *json = schema_json(descriptor);

	if (json && json->well_known == JSON_TIMESTAMP)
		append_literal(w->out, "\"0001-01-01T00:00:00Z\"");
	else
		append_literal(w->out, "null");
}

static void write_bytes(const Writer *w, const ProtobufCBinaryData *data)
{
	g_autofree char *text = g_base64_encode(data->data, data->len);

	write_text(w, text);
}

static void write_enum(const Writer *w, const ProtobufCFieldDescriptor *field, int value)
{
	const ProtobufCEnumValue *row =
	    protobuf_c_enum_descriptor_get_value(field->descriptor, value);

	if (row)
		write_text(w, row->name);
	else
		write_signed(w, value);
}

static void write_embedded(const Writer *w, const char *text)
{
	if (text && *text)
		append(w->out, text, strlen(text));
	else
		append_literal(w->out, "null");
}

static void write_value(
    const Writer *w, const ProtobufCFieldDescriptor *field, const JsonField *json, const void *at)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_STRING:
		if (json->json)
			write_embedded(w, *(char *const *)at);
		else
			write_text(w, *(char *const *)at);
		break;
	case PROTOBUF_C_TYPE_MESSAGE:
		if (*(ProtobufCMessage *const *)at)
			write_message(w, *(ProtobufCMessage *const *)at);
		else
			write_absent(w, field->descriptor);
		break;
	case PROTOBUF_C_TYPE_BOOL:
		if (*(const protobuf_c_boolean *)at)
			append_literal(w->out, "true");
		else
			append_literal(w->out, "false");
		break;
	case PROTOBUF_C_TYPE_BYTES:
		write_bytes(w, at);
		break;
	case PROTOBUF_C_TYPE_ENUM:
		write_enum(w, field, *(const int *)at);
		break;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		write_signed(w, *(const int64_t *)at);
		break;
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		write_unsigned(w, *(const uint64_t *)at);
		break;
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		write_unsigned(w, *(const uint32_t *)at);
		break;
	case PROTOBUF_C_TYPE_DOUBLE:
		write_double(w, *(const double *)at);
		break;
	case PROTOBUF_C_TYPE_FLOAT:
		write_double(w, (double)*(const float *)at);
		break;
	default:
		write_signed(w, *(const int32_t *)at);
	}
}

static const char *entry_key(const ProtobufCMessage *entry)
{
	const char *key =
	    *(char *const *)((const char *)entry + entry->descriptor->fields[0].offset);

	return key ? key : "";
}

static int compare_entries(const void *a, const void *b)
{
	return strcmp(
	    entry_key(*(ProtobufCMessage *const *)a), entry_key(*(ProtobufCMessage *const *)b));
}

static gboolean is_sorted(size_t n, ProtobufCMessage *const *entries)
{
	for (size_t i = 1; i < n; i++)
		if (compare_entries(&entries[i - 1], &entries[i]) > 0)
			return FALSE;
	return TRUE;
}

/* An entry without a value on the wire has the default one. */
static void write_entry_value(const Writer *w, const ProtobufCMessage *entry)
{
	static const JsonField plain;
	const ProtobufCFieldDescriptor *field = &entry->descriptor->fields[1];
	const void *at = (const char *)entry + field->offset;

	if (field->type == PROTOBUF_C_TYPE_MESSAGE && !*(ProtobufCMessage *const *)at) {
		const ProtobufCMessageDescriptor *descriptor = field->descriptor;
		g_autofree ProtobufCMessage *empty = g_malloc(descriptor->sizeof_message);
		protobuf_c_message_init(descriptor, empty);
		write_message(w, empty);
	} else {
		write_value(w, field, &plain, at);
	}
}

static void write_map(const Writer *w, size_t n, ProtobufCMessage *const *entries)
{
	g_autofree ProtobufCMessage **copy = NULL;

	if (!is_sorted(n, entries)) {
		copy = g_memdup2(entries, n * sizeof(*entries));
		qsort(copy, n, sizeof(*copy), compare_entries);
		entries = copy;
	}
	append_char(w->out, '{');
	for (size_t i = 0; i < n; i++) {
		if (i)
			append_char(w->out, ',');
		write_text(w, entry_key(entries[i]));
		append_char(w->out, ':');
		write_entry_value(w, entries[i]);
	}
	append_char(w->out, '}');
}

static void write_list(const Writer *w, const ProtobufCFieldDescriptor *field,
    const JsonField *json, size_t n, const char *items)
{
	size_t size = schema_value_size(field->type);

	append_char(w->out, '[');
	for (size_t i = 0; i < n; i++) {
		if (i)
			append_char(w->out, ',');
		write_value(w, field, json, items + i * size);
	}
	append_char(w->out, ']');
}

static const Kept *find_kept(const void *items, size_t n)
{
	int rows = g_atomic_int_get(&n_kept);

	for (int i = 0; i < rows; i++)
		if (kept[i].items == items && kept[i].n == n)
			return &kept[i];
	return NULL;
}

static void write_field(const Writer *w, const ProtobufCMessage *message,
    const ProtobufCFieldDescriptor *field, const JsonField *json)
{
	const char *at = (const char *)message + field->offset;

	if (field->label == PROTOBUF_C_LABEL_REPEATED) {
		size_t n = *(const size_t *)((const char *)message + field->quantifier_offset);
		const void *items = *(void *const *)at;
		const Kept *made = n && !w->flags ? find_kept(items, n) : NULL;
		if (made)
			append(w->out, made->text->str, made->text->len);
		else if (json->is_map)
			write_map(w, n, items);
		else
			write_list(w, field, json, n, items);
	} else {
		write_value(w, field, json, at);
	}
}

static gboolean is_empty(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	static const char zero[sizeof(ProtobufCBinaryData)];
	const char *at = (const char *)message + field->offset;

	if (field->label == PROTOBUF_C_LABEL_REPEATED)
		return *(const size_t *)((const char *)message + field->quantifier_offset) == 0;
	if (field->type == PROTOBUF_C_TYPE_STRING)
		return !*(char *const *)at || !**(char *const *)at;
	if (field->type == PROTOBUF_C_TYPE_BYTES)
		return ((const ProtobufCBinaryData *)at)->len == 0;
	return !memcmp(at, zero, schema_value_size(field->type));
}

/* A field of a oneof (also of the one that stands for `optional`) shows only when it is set. */
static gboolean is_shown(const Writer *w, const ProtobufCMessage *message,
    const ProtobufCFieldDescriptor *field, const JsonField *json)
{
	if (json->data || json->header || json->recursion > w->recursion)
		return FALSE;
	if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		return *(const uint32_t *)((const char *)message + field->quantifier_offset) ==
		       field->id;
	return !json->omit_empty || !is_empty(message, field);
}

static void write_object(const Writer *w, const ProtobufCMessage *message, const JsonMessage *json)
{
	gboolean first = TRUE;

	append_char(w->out, '{');
	for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
		unsigned index = json->json_order[i];
		const ProtobufCFieldDescriptor *field = &message->descriptor->fields[index];
		const JsonField *row = &json->fields[index];
		if (!is_shown(w, message, field, row))
			continue;
		if (!first)
			append_char(w->out, ',');
		first = FALSE;
		append_char(w->out, '"');
		append(w->out, row->json_name, strlen(row->json_name));
		append_literal(w->out, "\":");
		write_field(w, message, field, row);
	}
	append_char(w->out, '}');
}

static void write_flattened(
    const Writer *w, const ProtobufCMessage *message, const JsonMessage *json)
{
	for (unsigned i = 0; i < message->descriptor->n_fields; i++)
		if (!json->fields[i].data && !json->fields[i].header) {
			write_field(w, message, &message->descriptor->fields[i], &json->fields[i]);
			return;
		}
	append_literal(w->out, "null");
}

static void write_message(const Writer *w, const ProtobufCMessage *message)
{
	const JsonMessage *json = schema_json(message->descriptor);

	switch (json ? json->well_known : JSON_EMPTY) {
	case JSON_TIMESTAMP:
		write_timestamp(w, message);
		break;
	case JSON_FLATTEN:
		write_flattened(w, message, json);
		break;
	case JSON_EMPTY:
		append_literal(w->out, "{}");
		break;
	default:
		write_object(w, message, json);
	}
}

void json_write(GString *out, const void *message, unsigned recursion, unsigned flags)
{
	Writer writer = {.out = out, .recursion = recursion, .flags = flags};

	write_message(&writer, message);
}

void json_write_field(GString *out, const void *message, unsigned field, unsigned flags)
{
	Writer writer = {.out = out, .recursion = JSON_RECURSION_ALL, .flags = flags};
	const ProtobufCMessage *base = message;
	const JsonMessage *json = schema_json(base->descriptor);

	write_field(&writer, base, &base->descriptor->fields[field], &json->fields[field]);
}

void json_keep(const void *message, const char *name)
{
	static GMutex lock;
	const ProtobufCMessage *base = message;
	const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field_by_name(
	    base->descriptor, name);
	Kept row = { .items = *(void *const *)((const char *)message + field->offset),
		.n = *(const size_t *)((const char *)message + field->quantifier_offset),
		.text = g_string_new(NULL) };

	json_write_field(row.text, message, (unsigned)(field - base->descriptor->fields), 0);
	g_mutex_lock(&lock);
	g_assert(n_kept < KEPT_MAX);
	kept[n_kept] = row;
	g_atomic_int_inc(&n_kept);
	g_mutex_unlock(&lock);
}

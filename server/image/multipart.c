#include "server/image/multipart.h"
#include <string.h>

enum { BOUNDARY_MAX = 70, HEAD_MAX = 8192, PARTS_MAX = 16 };

typedef enum State {
	STATE_PREAMBLE, /* before the first boundary: as content that nobody wants */
	STATE_AFTER,    /* right after a boundary: "--" or the end of its line */
	STATE_HEAD,
	STATE_CONTENT,
	STATE_EPILOGUE,
} State;

struct Multipart {
	MultipartSink sink;
	char *delimiter; /* "\r\n--BOUNDARY" */
	size_t delimiter_length;
	State state;
	GByteArray *held; /* unconsumed bytes */
	unsigned parts;
};

/* The value of `name=` in a header's parameters, quoted or not; NULL when absent. */
static char *parameter(const char *header, const char *name)
{
	size_t length = strlen(name);
	for (const char *p = strchr(header, ';'); p; p = strchr(p, ';')) {
		p++;
		p += strspn(p, " \t");
		if (g_ascii_strncasecmp(p, name, length) != 0 || p[length] != '=') {
			/* A ';' inside quotes is no separator. */
			const char *quote = p + strcspn(p, ";\"");
			if (*quote == '"') {
				p = strchr(quote + 1, '"');
				if (!p)
					return NULL;
			}
			continue;
		}
		p += length + 1;
		if (*p != '"')
			return g_strndup(p, strcspn(p, "; \t\r\n"));
		GString *value = g_string_new(NULL);
		for (p++; *p && *p != '"'; p++) {
			if (*p == '\\' && p[1])
				p++;
			g_string_append_c(value, *p);
		}
		return g_string_free(value, FALSE);
	}
	return NULL;
}

int multipart_new(
    const char *content_type, const MultipartSink *sink, Multipart **ret_multipart, Error **err)
{
	g_autofree char *boundary = parameter(content_type, "boundary");
	if (!boundary || !*boundary || strlen(boundary) > BOUNDARY_MAX || strpbrk(boundary, "\r\n"))
		return error_set(err, ERROR_INVALID, "The multipart body has no valid boundary");
	Multipart *m = g_new0(Multipart, 1);
	m->sink = *sink;
	m->delimiter = g_strconcat("\r\n--", boundary, NULL);
	m->delimiter_length = strlen(m->delimiter);
	m->held = g_byte_array_new();
	/* So that the first boundary, which begins the body, looks like the others. */
	g_byte_array_append(m->held, (const guint8 *)"\r\n", 2);
	*ret_multipart = m;
	return 0;
}

void multipart_free(Multipart *m)
{
	if (!m)
		return;
	g_free(m->delimiter);
	g_byte_array_unref(m->held);
	g_free(m);
}

static int emit(Multipart *m, const void *bytes, size_t length, Error **err)
{
	if (m->state != STATE_CONTENT || length == 0)
		return 0;
	return m->sink.content(m->sink.data, bytes, length, err);
}

static int begin_part(Multipart *m, const char *head, Error **err)
{
	g_auto(GStrv) lines = g_strsplit(head, "\r\n", -1);
	g_autofree char *name = NULL, *filename = NULL;
	for (int i = 0; lines[i]; i++)
		if (g_ascii_strncasecmp(
			lines[i], "Content-Disposition:", strlen("Content-Disposition:")) == 0 &&
		    !name && !filename) {
			name = parameter(lines[i], "name");
			filename = parameter(lines[i], "filename");
		}
	if (!name)
		return error_set(err, ERROR_INVALID, "A part of the multipart body has no name");
	if (++m->parts > PARTS_MAX)
		return error_set(err, ERROR_INVALID, "The multipart body has too many parts");
	m->state = STATE_CONTENT;
	return m->sink.part(m->sink.data, name, filename ? filename : "", err);
}

static const guint8 *find(const guint8 *bytes, size_t length, const char *what, size_t what_length)
{
	return memmem(bytes, length, what, what_length);
}

/* Each step takes what it can from `bytes` and gives how much: 0 needs more, -1 fails. */
static ssize_t step_content(Multipart *m, const guint8 *bytes, size_t length, Error **err)
{
	const guint8 *end = find(bytes, length, m->delimiter, m->delimiter_length);
	if (end) {
		if (emit(m, bytes, (size_t)(end - bytes), err) < 0)
			return -1;
		m->state = STATE_AFTER;
		return end - bytes + (ssize_t)m->delimiter_length;
	}
	/* The start of a delimiter may stand at the end. */
	if (length < m->delimiter_length)
		return 0;
	size_t sure = length - m->delimiter_length + 1;
	return emit(m, bytes, sure, err) < 0 ? -1 : (ssize_t)sure;
}

static ssize_t step_after(Multipart *m, const guint8 *bytes, size_t length, Error **err)
{
	if (length < 2)
		return 0;
	if (memcmp(bytes, "--", 2) == 0) {
		m->state = STATE_EPILOGUE;
		return 2;
	}
	size_t blank = 0;
	while (blank < length && (bytes[blank] == ' ' || bytes[blank] == '\t'))
		blank++;
	if (blank > BOUNDARY_MAX)
		return error_set(err, ERROR_INVALID, "The multipart body is malformed");
	if (length < blank + 2)
		return 0;
	if (memcmp(bytes + blank, "\r\n", 2) != 0)
		return error_set(err, ERROR_INVALID, "The multipart body is malformed");
	m->state = STATE_HEAD;
	return (ssize_t)blank + 2;
}

static ssize_t step_head(Multipart *m, const guint8 *bytes, size_t length, Error **err)
{
	if (length >= 2 && memcmp(bytes, "\r\n", 2) == 0)
		return begin_part(m, "", err);
	const guint8 *end = find(bytes, MIN(length, HEAD_MAX), "\r\n\r\n", 4);
	if (!end)
		return length < HEAD_MAX ? 0 :
					   error_set(err, ERROR_INVALID,
					       "A part's head in the multipart body is too long");
	if (memchr(bytes, 0, (size_t)(end - bytes)))
		return error_set(err, ERROR_INVALID, "The multipart body is malformed");
	g_autofree char *head = g_strndup((const char *)bytes, (gsize)(end - bytes));
	return begin_part(m, head, err) < 0 ? -1 : end - bytes + 4;
}

static ssize_t step(Multipart *m, const guint8 *bytes, size_t length, Error **err)
{
	switch (m->state) {
	case STATE_PREAMBLE:
	case STATE_CONTENT:
		return step_content(m, bytes, length, err);
	case STATE_AFTER:
		return step_after(m, bytes, length, err);
	case STATE_HEAD:
		return step_head(m, bytes, length, err);
	default:
		return (ssize_t)length;
	}
}

/* Steps over bytes until no more is possible; gives how much was used. */
static ssize_t consume(Multipart *m, const guint8 *bytes, size_t length, Error **err)
{
	size_t used = 0;
	while (used < length) {
		ssize_t n = step(m, bytes + used, length - used, err);
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		used += (size_t)n;
	}
	return (ssize_t)used;
}

int multipart_feed(Multipart *m, const void *bytes, size_t length, Error **err)
{
	/* What was held back is small: it is joined with as much as makes it whole, so that the
	 * rest of a large piece is never copied. */
	const guint8 *p = bytes;
	while (m->held->len > 0 && length > 0) {
		size_t take = MIN(length, (size_t)HEAD_MAX + BOUNDARY_MAX);
		size_t before = m->held->len;
		g_byte_array_append(m->held, p, (guint)take);
		ssize_t used = consume(m, m->held->data, m->held->len, err);
		if (used < 0)
			return -1;
		if ((size_t)used >= before) {
			/* All that was held is gone: go on in the piece itself. */
			p += (size_t)used - before;
			length -= (size_t)used - before;
			g_byte_array_set_size(m->held, 0);
		} else {
			g_byte_array_remove_range(m->held, 0, (guint)used);
			p += take;
			length -= take;
		}
	}
	ssize_t used = consume(m, p, length, err);
	if (used < 0)
		return -1;
	g_byte_array_append(m->held, p + used, (guint)(length - (size_t)used));
	return 0;
}

int multipart_end(Multipart *m, Error **err)
{
	return m->state == STATE_EPILOGUE ?
	    0 :
	    error_set(err, ERROR_INVALID, "The multipart body is cut short");
}

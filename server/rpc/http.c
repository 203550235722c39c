#include "server/rpc/http.h"
#include <string.h>

static gboolean is_token(unsigned char c)
{
	return g_ascii_isalnum(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

size_t http_head_length(const char *data, size_t length)
{
	const char *end = memmem(data, length, "\r\n\r\n", 4);
	return end ? (size_t)(end - data) + 4 : 0;
}

/* Cuts `METHOD SP target SP HTTP/1.x` in place. */
static int parse_request_line(char *line, size_t length, HttpHead *head)
{
	char *end = line + length;
	char *p = line;
	while (p < end && is_token((unsigned char)*p))
		p++;
	if (p == line || p - line > 32 || p == end || *p != ' ')
		return 400;
	*p++ = 0;
	head->method = line;

	char *target = p;
	char *query = NULL;
	while (p < end && *p > 0x20 && *p < 0x7f && *p != '#') {
		if (*p == '?' && !query)
			query = p;
		p++;
	}
	if (p - target > HTTP_TARGET_MAX)
		return 414;
	if (p == target || p == end || *p != ' ')
		return 400;
	*p++ = 0;
	if (end - p != 8 || memcmp(p, "HTTP/", 5) || !g_ascii_isdigit(p[5]) || p[6] != '.' ||
	    !g_ascii_isdigit(p[7]))
		return 400;
	if (p[5] != '1')
		return 505;
	head->minor = p[7] == '0' ? 0 : 1;

	head->query = "";
	if (query) {
		*query = 0;
		head->query = query + 1;
	}
	/* Absolute form, as proxies send it. */
	if (*target != '/' && !g_ascii_strncasecmp(target, "http", 4)) {
		char *authority = strstr(target, "://");
		if (!authority)
			return 400;
		char *slash = strchr(authority + 3, '/');
		target = slash ? slash : (char *)"/";
	}
	if (*target != '/' && strcmp(target, "*"))
		return 400;
	head->path = target;
	return 0;
}

static int parse_content_length(const char *value, HttpHead *head)
{
	if (head->content_length >= 0 || !*value || strlen(value) > 18)
		return 400;
	for (const char *c = value; *c; c++)
		if (!g_ascii_isdigit(*c))
			return 400;
	head->content_length = g_ascii_strtoll(value, NULL, 10);
	return 0;
}

/* What the headers mean for the framing of the message and of the connection. */
static int apply_header(
    HttpHead *head, const char *name, const char *value, const char **connection)
{
	if (!g_ascii_strcasecmp(name, "Content-Length"))
		return parse_content_length(value, head);
	if (!g_ascii_strcasecmp(name, "Transfer-Encoding")) {
		if (head->chunked || !head->minor)
			return 400;
		if (g_ascii_strcasecmp(value, "chunked"))
			return 501;
		head->chunked = TRUE;
	} else if (!g_ascii_strcasecmp(name, "Host")) {
		if (http_header(head, "Host") != value)
			return 400;
		for (const char *c = value; *c; c++)
			if (*c <= 0x20 || *c == '/' || *c == '@' || *c == ',')
				return 400;
		head->host = value;
	} else if (!g_ascii_strcasecmp(name, "Connection")) {
		if (http_list_has(value, "close"))
			head->keep_alive = FALSE;
		else if (http_list_has(value, "keep-alive"))
			head->keep_alive = TRUE;
		if (http_list_has(value, "upgrade"))
			*connection = "upgrade";
	} else if (!g_ascii_strcasecmp(name, "Expect")) {
		if (g_ascii_strcasecmp(value, "100-continue"))
			return 417;
		head->expect_continue = head->minor == 1;
	}
	return 0;
}

static int parse_header(char *line, size_t length, HttpHead *head, const char **connection)
{
	if (head->n_headers == HTTP_HEADERS_MAX)
		return 431;
	char *end = line + length;
	char *p = line;
	while (p < end && is_token((unsigned char)*p))
		p++;
	/* Also refuses folded lines, and white space before the colon. */
	if (p == line || p == end || *p != ':')
		return 400;
	*p++ = 0;
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	while (end > p && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	for (char *c = p; c < end; c++)
		if (((unsigned char)*c < 0x20 && *c != '\t') || *c == 0x7f)
			return 400;
	*end = 0;
	head->headers[head->n_headers++] = (HttpHeader){ line, p };
	return apply_header(head, line, p, connection);
}

int http_head_parse(char *data, size_t length, HttpHead *head)
{
	const char *connection = NULL;
	char *end = data + length;
	gboolean first = TRUE;

	memset(head, 0, sizeof(*head));
	head->content_length = -1;
	head->host = "";
	for (char *line = data; line < end;) {
		char *eol = memchr(line, '\r', (size_t)(end - line));
		if (!eol || eol + 1 >= end || eol[1] != '\n')
			return 400;
		if (eol == line)
			break;
		int status = first ? parse_request_line(line, (size_t)(eol - line), head)
				   : parse_header(line, (size_t)(eol - line), head, &connection);
		if (status)
			return status;
		if (first)
			head->keep_alive = head->minor == 1;
		first = FALSE;
		line = eol + 2;
	}
	if (first)
		return 400;
	if (head->chunked && head->content_length >= 0)
		return 400;
	if (head->minor == 1 && !http_header(head, "Host"))
		return 400;
	if (connection)
		head->upgrade = http_header(head, "Upgrade");
	return 0;
}

const char *http_header(const HttpHead *head, const char *name)
{
	for (unsigned i = 0; i < head->n_headers; i++)
		if (!g_ascii_strcasecmp(head->headers[i].name, name))
			return head->headers[i].value;
	return NULL;
}

gboolean http_list_has(const char *list, const char *token)
{
	size_t length = strlen(token);
	while (list && *list) {
		list += strspn(list, " \t,");
		size_t n = strcspn(list, " \t,");
		if (n == length && !g_ascii_strncasecmp(list, token, n))
			return TRUE;
		list += n;
	}
	return FALSE;
}

ssize_t http_chunk_line(const char *data, size_t length, uint64_t *ret_size)
{
	size_t i = 0;
	uint64_t size = 0;
	for (; i < length && g_ascii_isxdigit(data[i]); i++) {
		if (i == 15)
			return -1;
		size = size * 16 + (uint64_t)g_ascii_xdigit_value(data[i]);
	}
	if (i == 0)
		return length ? -1 : 0;
	if (i < length && data[i] != ';' && data[i] != '\r')
		return -1;
	for (; i < length && data[i] != '\r'; i++)
		if (i >= HTTP_CHUNK_LINE_MAX || (unsigned char)data[i] < 0x20)
			return -1;
	if (i + 1 >= length)
		return i >= HTTP_CHUNK_LINE_MAX ? -1 : 0;
	if (data[i + 1] != '\n')
		return -1;
	*ret_size = size;
	return (ssize_t)i + 2;
}

char *http_percent_decode(const char *text, size_t length, gboolean plus)
{
	g_autofree char *out = g_malloc(length + 1);
	size_t n = 0;
	for (size_t i = 0; i < length; i++) {
		char c = text[i];
		if (c == '%') {
			if (i + 2 >= length || !g_ascii_isxdigit(text[i + 1]) ||
			    !g_ascii_isxdigit(text[i + 2]))
				return NULL;
			c = (char)(g_ascii_xdigit_value(text[i + 1]) * 16 +
			    g_ascii_xdigit_value(text[i + 2]));
			i += 2;
		} else if (c == '+' && plus) {
			c = ' ';
		}
		out[n++] = c;
	}
	out[n] = 0;
	if (!g_utf8_validate(out, (gssize)n, NULL))
		return NULL;
	return g_steal_pointer(&out);
}

char *http_percent_encode(const char *text)
{
	return g_uri_escape_string(text, NULL, FALSE);
}

const char *http_status_text(int status)
{
	static const struct { int status; const char *text;
	} rows[] = {
		{ 100, "Continue" },
		{ 101, "Switching Protocols" },
		{ 200, "OK" },
		{ 201, "Created" },
		{ 202, "Accepted" },
		{ 204, "No Content" },
		{ 206, "Partial Content" },
		{ 301, "Moved Permanently" },
		{ 308, "Permanent Redirect" },
		{ 400, "Bad Request" },
		{ 401, "Unauthorized" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 408, "Request Timeout" },
		{ 409, "Conflict" },
		{ 411, "Length Required" },
		{ 412, "Precondition Failed" },
		{ 413, "Request Entity Too Large" },
		{ 414, "Request URI Too Long" },
		{ 415, "Unsupported Media Type" },
		{ 417, "Expectation Failed" },
		{ 426, "Upgrade Required" },
		{ 429, "Too Many Requests" },
		{ 431, "Request Header Fields Too Large" },
		{ 499, "Client Closed Request" },
		{ 500, "Internal Server Error" },
		{ 501, "Not Implemented" },
		{ 503, "Service Unavailable" },
		{ 505, "HTTP Version Not Supported" },
	};
	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
		if (rows[i].status == status)
			return rows[i].text;
	return "Unknown";
}

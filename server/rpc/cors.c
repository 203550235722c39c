#include "server/rpc/cors.h"
#include "server/key/server.h"

void cors_headers(Exchange *ex)
{
	static const struct { const char *key, *header; } rows[] = {
		{ "core.https_allowed_origin", "Access-Control-Allow-Origin" },
		{ "core.https_allowed_methods", "Access-Control-Allow-Methods" },
		{ "core.https_allowed_headers", "Access-Control-Allow-Headers" },
	};
	ServerConfig *config = ex->daemon->config;
	if (!config || !http_header(&ex->head, "Origin"))
		return;
	g_autofree char *origin = server_config_get(config, rows[0].key);
	if (!origin || !*origin)
		return;
	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
		g_autofree char *value = server_config_get(config, rows[i].key);
		if (value && *value)
			exchange_header(ex, rows[i].header, value);
	}
	if (server_config_bool(config, "core.https_allowed_credentials"))
		exchange_header(ex, "Access-Control-Allow-Credentials", "true");
}

#include "server/key/server.h"
#include "server/project/project.h"

char *project_setting(Daemon *d, const char *project, const char *key)
{
	g_autoptr(Project) row = NULL;
	if (project_get(d, project, FALSE, &row, NULL) == 0 && config_get(row->config, key))
		return g_strdup(config_get(row->config, key));
	return server_config_get(d->config, key);
}

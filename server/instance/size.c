#include "server/instance/size.h"
#include <string.h>

#define CPU_MAX 8192.0
#define GIB_MAX 1048576.0

static int refuse(const char *size, Error **err)
{
	return error_set(err, ERROR_INVALID,
	    "Unknown instance size \"%s\": write cCPUS-mGIB as in \"c2-m4\", or set limits.cpu and limits.memory",
	    size);
}

/* "0.5": digits, perhaps with a fraction. */
static int read_amount(const char *text, double most, double *ret)
{
	size_t whole = strspn(text, "0123456789");
	size_t fraction = text[whole] == '.' ? strspn(text + whole + 1, "0123456789") : 0;
	if (!whole || (text[whole] == '.' && !fraction) ||
	    text[whole + (fraction ? fraction + 1 : 0)])
		return -1;
	*ret = g_ascii_strtod(text, NULL);
	return *ret > 0 && *ret <= most ? 0 : -1;
}

static void set_missing(Config *config, const char *key, const char *value)
{
	if (!config_get(config, key))
		config_set(config, key, value);
}

/* Half a CPU is one CPU for half of the time. */
static void set_cpus(Config *config, double cpus)
{
	int cores = (int)cpus < cpus ? (int)cpus + 1 : (int)cpus;
	int percent = (int)(cpus * 100 / cores + 1e-6);
	g_autofree char *count = g_strdup_printf("%d", cores);
	g_autofree char *allowance = g_strdup_printf("%d%%", MAX(percent, 1));
	set_missing(config, "limits.cpu", count);
	if (percent < 100)
		set_missing(config, "limits.cpu.allowance", allowance);
}

int instance_size_apply(const char *size, Config *config, Error **err)
{
	double cpus = 0, gib = 0;
	g_auto(GStrv) parts = g_strsplit(size, "-", 3);
	for (char **part = parts; *part; part++) {
		double *amount = **part == 'c' ? &cpus : **part == 'm' ? &gib : NULL;
		if (!amount || *amount > 0 ||
		    read_amount(*part + 1, amount == &cpus ? CPU_MAX : GIB_MAX, amount) < 0)
			return refuse(size, err);
	}
	if (cpus > 0)
		set_cpus(config, cpus);
	if (gib > 0) {
		g_autofree char *memory = g_strdup_printf(
		    "%" G_GINT64_FORMAT "MiB", MAX((gint64)(gib * 1024), 1));
		set_missing(config, "limits.memory", memory);
	}
	return 0;
}

#include "server/key/raw_qemu.h"
#include <limits.h>
#include <string.h>

enum { COMMAND_LINE_MOST = 2047 }; /* of Linux on x86, which cuts off the rest without a word */

static int check_path(const char *name, const char *value, Error **err)
{
	if (*value == '/' && strlen(value) < PATH_MAX)
		return 0;
	return error_set(err, ERROR_INVALID,
	    "\"-%s\" needs the absolute path of a file, not \"%s\"", name, value);
}

static int check_line(const char *name, const char *value, Error **err)
{
	if (strlen(value) <= COMMAND_LINE_MOST)
		return 0;
	return error_set(
	    err, ERROR_INVALID, "\"-%s\" is longer than %d bytes", name, COMMAND_LINE_MOST);
}

static const struct {
	const char *name;
	size_t slot;
	int (*check)(const char *name, const char *value, Error **err);
} taken[] = {
	{ "kernel", offsetof(RawQemu, kernel), check_path },
	{ "initrd", offsetof(RawQemu, initrd), check_path },
	{ "append", offsetof(RawQemu, append), check_line },
};

/* What to use instead of arguments that people try. */
static const struct {
	const char *name, *instead;
} known[] = {
	{ "bios", "security.csm and security.secureboot choose the firmware" },
	{ "pflash", "security.csm and security.secureboot choose the firmware" },
	{ "m", "limits.memory is for that" },
	{ "smp", "limits.cpu is for that" },
	{ "boot", "boot.priority of the devices is for that" },
	{ "blockdev", "disks are devices of the instance" },
	{ "cdrom", "disks are devices of the instance" },
	{ "drive", "disks are devices of the instance" },
	{ "hda", "disks are devices of the instance" },
	{ "netdev", "network cards are devices of the instance" },
	{ "nic", "network cards are devices of the instance" },
	{ "tpmdev", "a TPM is a device of the instance" },
	{ "device", "devices of the instance are for that" },
};

static int refuse(const char *argument, const char *name, Error **err)
{
	const char *why = "libvirt starts QEMU here and has no place for it; -kernel, -initrd and "
			  "-append can be used";
	for (size_t n = 0; n < G_N_ELEMENTS(known); n++)
		if (strcmp(known[n].name, name) == 0)
			why = known[n].instead;
	return error_set(
	    err, ERROR_UNSUPPORTED, "QEMU's argument \"%s\" cannot be used: %s", argument, why);
}

/* What becomes a line of libvirt's description. */
static int check_signs(const char *name, const char *value, Error **err)
{
	if (g_utf8_validate(value, -1, NULL)) {
		for (; *value && !g_unichar_iscntrl(g_utf8_get_char(value));)
			value = g_utf8_next_char(value);
		if (!*value)
			return 0;
	}
	return error_set(
	    err, ERROR_INVALID, "The value of \"-%s\" has characters that it cannot have", name);
}

static int take(RawQemu *out, const char *argument, const char *value, Error **err)
{
	const char *name = argument + (*argument == '-');
	name += *argument == '-' && *name == '-'; /* QEMU takes both */
	for (size_t n = 0; n < G_N_ELEMENTS(taken) && name > argument; n++) {
		if (strcmp(taken[n].name, name) != 0)
			continue;
		char **slot = (char **)((char *)out + taken[n].slot);
		if (!value)
			return error_set(err, ERROR_INVALID, "\"%s\" needs a value", argument);
		if (*slot)
			return error_set(err, ERROR_INVALID, "\"%s\" stands twice", argument);
		if (check_signs(name, value, err) < 0 || taken[n].check(name, value, err) < 0)
			return -1;
		*slot = g_strdup(value);
		return 0;
	}
	return refuse(argument, name, err);
}

int raw_qemu_parse(const char *raw, RawQemu *ret_arguments, Error **err)
{
	g_auto(RawQemu) out = { 0 };
	g_auto(GStrv) words = NULL;
	g_autoptr(GError) error = NULL;
	int n = 0;
	if (!g_shell_parse_argv(raw ? raw : "", &n, &words, &error) &&
	    !g_error_matches(error, G_SHELL_ERROR, G_SHELL_ERROR_EMPTY_STRING))
		return error_set(err, ERROR_INVALID, "Its quotes do not match: %s", error->message);
	for (char **word = words; word && *word; word += word[1] ? 2 : 1)
		if (take(&out, word[0], word[1], err) < 0)
			return -1;
	if (!out.kernel && (out.initrd || out.append))
		return error_set(
		    err, ERROR_INVALID, "\"-initrd\" and \"-append\" need \"-kernel\"");
	*ret_arguments = out;
	out = (RawQemu){ 0 };
	return 0;
}

void raw_qemu_clear(RawQemu *arguments)
{
	g_clear_pointer(&arguments->kernel, g_free);
	g_clear_pointer(&arguments->initrd, g_free);
	g_clear_pointer(&arguments->append, g_free);
}

int raw_qemu_check(const char *raw, Error **err)
{
	g_auto(RawQemu) arguments = { 0 };
	return raw_qemu_parse(raw, &arguments, err);
}

#pragma once
/*
 * The families of commands. Add a line here for a new file; its array is NAME_commands.
 */
#include "cli/command.h"

#define COMMAND_FAMILIES(X) \
	X(action) \
	X(admin) \
	X(alias) \
	X(backup) \
	X(bucket) \
	X(completion) \
	X(config) \
	X(console) \
	X(copy) \
	X(delete) \
	X(exec) \
	X(file) \
	X(help) \
	X(image) \
	X(image_alias) \
	X(info) \
	X(init) \
	X(launch) \
	X(list) \
	X(manpage) \
	X(monitor) \
	X(network) \
	X(operation) \
	X(profile) \
	X(project) \
	X(publish) \
	X(query) \
	X(rebuild) \
	X(recover) \
	X(remote) \
	X(snapshot) \
	X(storage) \
	X(template) \
	X(trust) \
	X(version) \
	X(volume) \
	X(volume_copy) \
	X(volume_snapshot) \
	X(warning)

#define FAMILY(name) extern const Command name##_commands[];
COMMAND_FAMILIES(FAMILY)
#undef FAMILY

#include "server/instance/driver.h"

const InstanceDriver *instance_driver_of(InstanceType type)
{
	static const InstanceDriver *const drivers[] = {
		[INSTANCE_CONTAINER] = &instance_driver_lxc,
		[INSTANCE_MACHINE] = &instance_driver_vm,
	};
	return drivers[type];
}

int instance_config_check(InstanceType type, const Config *expanded, Error **err)
{
	return instance_driver_of(type)->check(NULL, expanded, err);
}

const InstanceDriver *instance_driver(const Instance *i)
{
	return instance_driver_of(i->type);
}

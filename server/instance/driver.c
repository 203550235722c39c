#include "server/instance/driver.h"

const InstanceDriver *instance_driver_of(InstanceType type)
{
	/* Nothing makes a machine yet, and none starts (power.c). */
	return &instance_driver_lxc;
}

const InstanceDriver *instance_driver(const Instance *i)
{
	return instance_driver_of(i->type);
}

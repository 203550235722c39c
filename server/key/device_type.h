#pragma once
/* The types of devices by the number that the rows of "*_devices" hold. */

/* -1: unknown. */
int device_type_number(const char *type);
/* "none" for what no row may hold. */
const char *device_type_from_number(int number);

/* A virtual TPM: swtpm keeps its state beside the virtual machine's disk. */
#include "server/device/device.h"
#include "server/key/key.h"

static int validate(const DeviceHost *host, const char *name, const Config *config, Error **err)
{
	if (key_check_all(KEY_DEVICE, "tpm", config, err) < 0)
		return -1;
	if (host && !device_host_is_machine(host))
		return error_set(
		    err, ERROR_UNSUPPORTED, "Only virtual machines can have a TPM in this version");
	return 0;
}

static int start(
    const DeviceHost *host, const char *name, const Config *config, DeviceStart *out, Error **err)
{
	for (guint n = 0; n < out->parts->len; n++)
		if (((DevicePart *)out->parts->pdata[n])->kind == PART_TPM)
			return error_set(
			    err, ERROR_INVALID, "A virtual machine can have one TPM only");
	g_ptr_array_add(out->parts, device_part_new(PART_TPM, name, config));
	return 0;
}

const DeviceType device_tpm = { .type = "tpm", .validate = validate, .start = start };

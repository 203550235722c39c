/* A container's console, which its liblxc monitor holds. */
#include "server/instance/driver.h"

/* Both console requests name the container as liblxc knows it. */
static Packet *request(Instance *instance, SpawnOp op)
{
	g_autofree char *name = instance_file_name(instance);
	g_autofree char *lxcpath = instance_lxcpath(instance_daemon(instance));
	Packet *packet = packet_new(op);
	packet_add(packet, name);
	packet_add(packet, lxcpath);
	return packet;
}

int lxc_console_open(Instance *i, Console *ret_console, Error **err)
{
	g_autoptr(Packet) answer = NULL;
	if (spawner_call(i->daemon->spawner, request(i, SPAWN_CONSOLE), NULL, &answer, err) < 0)
		return -1;
	ret_console->terminal = packet_take_fd(answer, 0);
	ret_console->keep_alive = packet_take_fd(answer, 1);
	ret_console->sized = packet_take_fd(answer, 2);
	return 0;
}

int lxc_console_log(Instance *i, gboolean clear, int *ret_fd, uint64_t *ret_size, Error **err)
{
	g_autoptr(Packet) answer = NULL;
	Packet *packet = request(i, SPAWN_CONSOLE_LOG);
	packet->n[0] = clear;
	if (spawner_call(i->daemon->spawner, packet, NULL, &answer, err) < 0)
		return -1;
	if (clear)
		return 0;
	*ret_fd = packet_take_fd(answer, 0);
	*ret_size = (uint64_t)answer->n[0];
	return 0;
}

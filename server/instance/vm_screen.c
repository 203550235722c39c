/* What a virtual machine shows: SPICE on a socket of QEMU's, and pictures of it. */
#include "sdk/base/file.h"
#include "sdk/base/own.h"
#include "sdk/base/unix_socket.h"
#include "server/instance/vm.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { CHUNK = 64 * 1024, PICTURE_MOST = 256 << 20 };

int vm_screen_open(Instance *i, int *ret_fd, Error **err)
{
	g_autofree char *directory = runtime_directory(i);
	g_autofree char *path = g_build_filename(directory, VM_SCREEN_SOCKET, NULL);
	*ret_fd = unix_connect(path, 0);
	/* A QEMU that stands still takes nothing more: nobody is to wait for it in write(). */
	if (*ret_fd >= 0 && fcntl(*ret_fd, F_SETFL, O_NONBLOCK) == 0)
		return 0;
	if (errno == ENOENT)
		return error_set(err, ERROR_UNSUPPORTED,
		    "The virtual machine has no screen: QEMU had no SPICE when it was started");
	return error_errno(err, ERROR_INTERNAL, errno, "Cannot connect to the screen");
}

static int receive(const Libvirt *lv, virStreamPtr stream, int fd, Error **err)
{
	g_autofree char *buffer = g_malloc(CHUNK);
	for (int64_t size = 0;;) {
		int n = lv->stream_receive(stream, buffer, CHUNK);
		if (n <= 0)
			return n == 0 ? 0 : libvirt_error(lv, err, "Cannot read the picture");
		if ((size += n) > PICTURE_MOST)
			return error_set(err, ERROR_INTERNAL, "The picture is too large");
		if (file_write_all(fd, buffer, (size_t)n) < 0)
			return error_errno(err, ERROR_INTERNAL, errno, "Cannot keep the picture");
	}
}

static int take(const VmHandle *vm, virStreamPtr stream, int fd, char **ret_type, Error **err)
{
	const Libvirt *lv = vm->link.lv;
	*ret_type = lv->domain_screenshot(vm->domain, stream, 0, 0);
	if (!*ret_type)
		return libvirt_error(lv, err, "Cannot take a picture of the screen");
	if (receive(lv, stream, fd, err) < 0) {
		lv->stream_abort(stream);
		return -1;
	}
	return lv->stream_finish(stream) == 0 ? 0 :
						libvirt_error(lv, err, "Cannot read the picture");
}

int vm_screen_shot(Instance *i, int *ret_fd, uint64_t *ret_size, Error **err)
{
	g_auto(VmHandle) vm = { 0 };
	char *type = NULL;
	if (vm_open(i, &vm, err) < 0)
		return -1;
	autofd int fd = memfd_create("screen", MFD_CLOEXEC);
	virStreamPtr stream = vm.link.lv->stream_new(vm.link.connection, 0);
	int result = stream ? take(&vm, stream, fd, &type, err) :
			      libvirt_error(vm.link.lv, err, "Cannot take a picture of the screen");
	if (result == 0 && strcmp(type, "image/png") != 0)
		result = error_set(err, ERROR_UNSUPPORTED,
		    "QEMU makes pictures of type \"%s\" only: a newer one is needed", type);
	free(type);
	if (stream)
		vm.link.lv->stream_free(stream);
	if (result < 0)
		return -1;
	*ret_size = (uint64_t)lseek(fd, 0, SEEK_CUR);
	*ret_fd = own_steal_fd(&fd);
	return 0;
}

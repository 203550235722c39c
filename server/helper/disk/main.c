/*
 * incus-disk: runs qemu-img where it can do no harm, for the images that it reads are strangers'.
 * Descriptor 3 is the image (qcow2), 4 the disk to write, which has its size already. qemu-img gets
 * no network, no capability and a root with nothing in it but the system's programs, read-only, and
 * these two files.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM "/usr/bin/qemu-img"

/*
 * qemu-img starts up to 64 threads and aborts when one has no room: with the usual 8 MiB of stack
 * and an arena each that was now and then more than the memory it may have.
 */
enum {
	IMAGE_FD = 3,
	DISK_FD = 4,
	MEMORY_MOST = 1 << 30,
	STACK_MOST = 1 << 20,
	CPU_SECONDS_MOST = 3 * 3600
};

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...)
{
	va_list args;
	int saved = errno;
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, ": %s\n", strerror(saved));
	_exit(1);
}

/* What is not on this host (/lib64, or /lib as a folder) is left out. */
static void show_folder(const char *path)
{
	struct stat st;
	char link[256], *below = (char *)path + 1;
	if (lstat(path, &st) < 0)
		return;
	if (S_ISLNK(st.st_mode)) {
		ssize_t n = readlink(path, link, sizeof(link) - 1);
		if (n < 0)
			return;
		link[n] = 0;
		if (symlink(link, below) < 0)
			die("Cannot link \"%s\"", path);
		return;
	}
	if (mkdir(below, 0755) < 0 || mount(path, below, NULL, MS_BIND, NULL) < 0 ||
	    mount(NULL, below, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID, NULL) < 0)
		die("Cannot show \"%s\"", path);
}

/* The file as a mount that is nowhere yet, and may go into another namespace; it needs no name. */
static int take_file(int fd)
{
	int file = (int)syscall(
	    SYS_open_tree, fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (file < 0)
		die("Cannot take descriptor %d along", fd);
	return file;
}

static void show_file(int file, const char *name, int readonly)
{
	int made = open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	if (made < 0 || close(made) < 0 ||
	    syscall(SYS_move_mount, file, "", AT_FDCWD, name, MOVE_MOUNT_F_EMPTY_PATH) < 0 ||
	    (readonly && mount(NULL, name, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) < 0))
		die("Cannot show the %s", name);
}

static void enter_jail(void)
{
	static const char *const folders[] = { "/usr", "/bin", "/lib", "/lib64" };
	int image = take_file(IMAGE_FD), disk = take_file(DISK_FD);
	if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) < 0 ||
	    mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0 ||
	    mount("jail", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0700,size=1m") < 0 ||
	    chdir("/tmp") < 0)
		die("Cannot make a jail");
	for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++)
		show_folder(folders[i]);
	show_file(image, "image", 1);
	show_file(disk, "disk", 0);
	if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		die("Cannot enter the jail");
}

static void limit(int what, rlim_t most)
{
	struct rlimit value = { most, most };
	if (setrlimit(what, &value) < 0)
		die("Cannot set a limit");
}

/* Root without any of its rights: the two files are root's. */
static void drop_rights(off_t size)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { 0 };
	limit(RLIMIT_AS, MEMORY_MOST);
	limit(RLIMIT_STACK, STACK_MOST);
	limit(RLIMIT_CPU, CPU_SECONDS_MOST);
	limit(RLIMIT_FSIZE, (rlim_t)size);
	limit(RLIMIT_CORE, 0);
	for (int cap = 0; cap <= 63; cap++)
		prctl(PR_CAPBSET_DROP, cap);
	if (prctl(PR_SET_SECUREBITS,
		SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
		    SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
		    SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED) < 0 ||
	    syscall(SYS_capset, &header, none) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		die("Cannot drop rights");
}

/* A cut file reads as zeroes to its end: only the check finds that. */
static void check_image(char **environment)
{
	static char *const argv[] = { "qemu-img", "check", "-q", "-f", "qcow2", "/image", NULL };
	enum { LEAKED_CLUSTERS = 3 }; /* no harm */
	int status, nowhere = memfd_create("said", MFD_CLOEXEC);
	pid_t pid = fork();
	if (pid < 0 || nowhere < 0)
		die("Cannot check the image");
	if (pid == 0) {
		dup2(nowhere, STDOUT_FILENO);
		dup2(nowhere, STDERR_FILENO);
		execve(PROGRAM, argv, environment);
		_exit(127);
	}
	if (waitpid(pid, &status, 0) != pid)
		die("Cannot check the image");
	if (WIFSIGNALED(status)) {
		fprintf(stderr, "qemu-img was ended by signal %d\n", WTERMSIG(status));
		_exit(1);
	}
	if (WIFEXITED(status) && (!WEXITSTATUS(status) || WEXITSTATUS(status) == LEAKED_CLUSTERS))
		return;
	fprintf(stderr, "It is damaged or cut short\n");
	_exit(1);
}

int main(void)
{
	/* A new file reads as zeroes; a device may hold what it held before. */
	char *to_file[] = { "qemu-img", "convert", "-q", "-f", "qcow2", "-O", "raw", "-n",
		"--target-is-zero", "-W", "-m", "4", "/image", "/disk", NULL };
	char *to_device[] = { "qemu-img", "convert", "-q", "-f", "qcow2", "-O", "raw", "-n", "-W",
		"-m", "4", "/image", "/disk", NULL };
	struct stat disk;
	static char *environment[] = { "LC_ALL=C", "PATH=/usr/bin:/bin", "MALLOC_ARENA_MAX=1",
		NULL };
	off_t size = lseek(DISK_FD, 0, SEEK_END);
	if (size < 0 || fstat(DISK_FD, &disk) < 0)
		die("Descriptors 3 and 4 are an image and a disk (started by incusd)");
	enter_jail();
	close(IMAGE_FD);
	close(DISK_FD);
	drop_rights(size);
	check_image(environment);
	execve(PROGRAM, S_ISREG(disk.st_mode) ? to_file : to_device, environment);
	die("Cannot run qemu-img");
}

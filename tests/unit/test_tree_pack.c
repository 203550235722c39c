/* Trees that are packed and unpacked again are the same, whatever is in them. */
#include "server/storage/tree_pack.h"
#include "server/storage/unpack.h"
#include "server/sys/id_map.h"
#include "sdk/base/own.h"
#include "tests/unit/store.h"
#include <sys/sysmacros.h>
#include <sys/xattr.h>

typedef struct Pipe {
	int dir, out;
	const TreePackOptions *options;
	Error *error;
	int result;
} Pipe;

static void *pack(void *data)
{
	Pipe *pipe = data;
	pipe->result = tree_pack(pipe->dir, pipe->out, pipe->options, &pipe->error);
	close(pipe->out);
	return NULL;
}

static char *folder(void)
{
	char *path = g_strdup("/var/tmp/incus-pack-XXXXXX");
	assert_non_null(mkdtemp(path));
	return path;
}

/* Packs `from` and unpacks it into `to`, at once. */
static void carry(const char *from, const char *to, const TreePackOptions *options)
{
	int fds[2];
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	autofd int source = open(from, O_RDONLY | O_DIRECTORY),
		   target = open(to, O_RDONLY | O_DIRECTORY);
	Pipe p = { .dir = source, .out = fds[1], .options = options };
	GThread *thread = g_thread_new("pack", pack, &p);
	UnpackOptions unpack = { .shape = UNPACK_TREE };
	g_autoptr(Error) err = NULL;
	int result = unpack_archive(fds[0], target, &unpack, &err);
	close(fds[0]);
	g_thread_join(thread);
	if (result < 0 || p.result < 0)
		print_error("%s\n", err ? err->message : p.error->message);
	assert_int_equal(result, 0);
	assert_int_equal(p.result, 0);
}

static char *run(const char *format, ...) G_GNUC_PRINTF(1, 2);
static char *run(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	g_autofree char *script = g_strdup_vprintf(format, args);
	va_end(args);
	char *argv[] = { (char *)"bash", (char *)"-c", script, NULL }, *out = NULL;
	int status = -1;
	assert_true(g_spawn_sync(
	    NULL, argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out, NULL, &status, NULL));
	assert_int_equal(status, 0);
	return out;
}

/* Everything that a copy must keep: kinds, modes, owners, sizes, times, links, content, attributes,
 * ACLs. */
static char *describe(const char *path)
{
	return run("cd '%s' && find . -printf '%%P %%y %%m %%U %%G %%s %%n %%l %%T@\\n' | grep -av "
		   "'^ d' | sort &&"
		   " find . -type f -exec md5sum {} + | sort && getfattr -R -d -m "
		   "'^user|capab|acl' -e hex . 2>/dev/null | sort",
	    path);
}

/* A tree whose owners are shifted on disk goes out as it is inside. */
static void test_owners(void **state)
{
	g_autofree char *from = folder(), *plain = folder(), *to = folder();
	IdRange ranges[] = { { TRUE, FALSE, 0, 1000000, 65536 }, { FALSE, TRUE, 0, 2000000, 65536 } };
	g_autoptr(GArray) map = g_array_new(FALSE, FALSE, sizeof(IdRange));
	g_array_append_vals(map, ranges, G_N_ELEMENTS(ranges));
	TreePackOptions options = { .owners = map };
	if (geteuid() != 0)
		skip();
	g_free(run("cd '%s' && touch f t && chown 5:6 f && setfacl -m u:7:rwx,g:8:r f && ln -s f l "
		   "&& chown -h 9:9 l && cp -a f l t '%s' 2>/dev/null; touch -h -d @1 * "
		   "'%s'/* ", plain, from, from));
	g_free(run("cd '%s' && chown 1000005:2000006 f && setfacl -b f && "
		   "setfacl -m u:1000007:rwx,g:2000008:r f && chown -h 1000009:2000009 l && "
		   "chown 1000000:2000000 t && touch -h -d @1 *", from));
	carry(from, to, &options);
	g_autofree char *before = describe(plain), *after = describe(to);
	assert_string_equal(after, before);
	g_free(run("rm -rf '%s' '%s' '%s'", from, plain, to));
}

static void test_all_kinds(void **state)
{
	g_autofree char *from = folder(), *to = folder();
	g_free(run("cd '%s' && umask 022 && mkdir -p a/b empty && echo one >a/f && ln a/f a/b/hard "
		   "&& ln -s ../x a/link && ln a/link a/link2 &&"
		   " mkfifo pipe && mknod null c 1 3 && truncate -s 3M hole && truncate -s 1M "
		   "mixed && echo x >>mixed && truncate -s 2M mixed &&"
		   " head -c 700000 /dev/urandom >big && chmod 4755 big && chown 1000:2000 a/f a/b "
		   "&& touch -d '2001-02-03 04:05:06.123456789' a/f a &&"
		   " setfattr -n user.k -v v a/f && setfattr -n user.d -v '' a && setfacl -m "
		   "u:1234:rw,g:99:r a/f && setfacl -d -m u:5:rwx a/b &&"
		   " echo u >$'gr\\xc3\\xbc\\xc3\\x9fe' && echo r >$'raw\\xff\\xfe' && mkdir "
		   "$'d\\xe9' && echo i >$'d\\xe9/in' && echo n >$'new\\nline' &&"
		   " : >nothing && n=$(printf 'x%%.0s' $(seq 250)) && mkdir -p $n/$n && echo deep "
		   ">$n/$n/$n && chown -h 7:8 a/link",
	    from));
	carry(from, to, NULL);
	g_autofree char *expected = describe(from), *got = describe(to);
	assert_string_equal(got, expected);
	g_autofree char *blocks = run("stat -c %%b '%s/hole'", to);
	assert_string_equal(blocks, "0\n");
	g_free(run("rm -rf '%s' '%s'", from, to));
}

/* Files with fewer blocks than bytes and no hole, as a file system that compresses has: sysfs says
 * so of all of its own. */
static void test_few_blocks(void **state)
{
	static const char from[] = "/sys/devices/virtual/net/lo/queues/rx-0";
	g_autofree char *to = folder();
	if (!g_file_test(from, G_FILE_TEST_IS_DIR)) {
		print_message("SKIPPED: no \"%s\"\n", from);
		skip();
	}
	carry(from, to, NULL);
	g_autofree char *expected = run("cat %s/rps_flow_cnt", from),
			*got = run("tr -d '\\0' <%s/rps_flow_cnt", to);
	assert_string_equal(got, expected);
	g_free(run("rm -rf '%s'", to));
}

static gboolean skip_big(void *data, const char *path, int fd, const struct stat *st)
{
	return strcmp(path, "big") == 0;
}

static void test_prefix_and_skip(void **state)
{
	g_autofree char *from = folder(), *to = folder();
	g_free(run("cd '%s' && echo 1 >big && echo 2 >small && mkdir d && chmod 700 d", from));
	TreePackOptions options = { .prefix = "backup/container", .skip = skip_big };
	carry(from, to, &options);
	g_autofree char *names = run("cd '%s' && find . | sort | tr '\\n' ' '", to);
	assert_string_equal(
	    names, ". ./backup ./backup/container ./backup/container/d ./backup/container/small ");
	g_free(run("rm -rf '%s' '%s'", from, to));
}

static void test_reader_gone(void **state)
{
	g_autofree char *from = folder();
	g_free(run("head -c 3000000 /dev/zero >'%s/f'", from));
	int fds[2];
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	close(fds[0]);
	autofd int source = open(from, O_RDONLY | O_DIRECTORY);
	g_autoptr(Error) err = NULL;
	assert_int_equal(tree_pack(source, fds[1], NULL, &err), -1);
	close(fds[1]);
	g_free(run("rm -rf '%s'", from));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_owners), cmocka_unit_test(test_all_kinds),
		cmocka_unit_test(test_few_blocks),
		cmocka_unit_test(test_prefix_and_skip),
		cmocka_unit_test(test_reader_gone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "migrate/clients.h"
#include "sdk/base/file.h"
#include "sdk/base/log.h"
#include "sdk/base/own.h"
#include "sdk/base/yaml.h"
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_LIMIT = 4 << 20 };
static const char *const sources[] = { ".config/lxc", "snap/lxd/common/config" };
static const char ours[] = ".config/incus";
static const struct {
	const char *name;
	mode_t mode;
} files[] = { { "client.crt", 0644 }, { "client.key", 0600 }, { "client.ca", 0644 } };

typedef struct Home {
	char *path;
	uid_t uid;
	gid_t gid;
} Home;

static void home_free(void *data)
{
	g_free(((Home *)data)->path);
	g_free(data);
}

/* A process without threads of its own at this point: ids are of the whole process. */
static int become(uid_t uid, gid_t gid, Error **err)
{
	return setegid(gid) < 0 || seteuid(uid) < 0 ?
	    error_errno(err, ERROR_INTERNAL, errno, "Cannot act as user %d", (int)uid) :
	    0;
}

static void become_root(void)
{
	if (seteuid(0) < 0 || setegid(0) < 0)
		g_error("Root's rights cannot be taken back");
}

/* ---- config.yml ---- */

/* Servers that spoke LXD's protocol speak Incus's now, this host's among them. */
static void rewrite_remotes(json_t *document)
{
	const char *name;
	json_t *remote;
	json_object_foreach (json_object_get(document, "remotes"), name, remote) {
		const char *protocol = json_string_value(json_object_get(remote, "protocol"));
		if (protocol && strcmp(protocol, "lxd") == 0)
			json_object_set_new(remote, "protocol", json_string("incus"));
	}
}

static int convert_config(int home, const char *source, Error **err)
{
	g_autofree char *path = g_build_filename(source, "config.yml", NULL);
	g_autofree char *to = g_build_filename(ours, "config.yml", NULL);
	g_autofree char *text = NULL;
	size_t length;
	json_t *document = NULL;
	Error *error = NULL;
	if (file_read(home, path, FILE_LINKS_BENEATH, FILE_LIMIT, &text, &length, &error) < 0) {
		if (error->kind != ERROR_NOT_FOUND)
			return error_propagate(err, error);
		error_free(error);
		return 0;
	}
	if (yaml_parse(text, length, &document, err) < 0)
		return error_prefix(err, "\"%s\"", path);
	rewrite_remotes(document);
	g_autofree char *yaml = yaml_write(document);
	json_decref(document);
	return file_write_atomic(home, to, yaml, strlen(yaml), 0600, err);
}

/* ---- certificates ---- */

static int copy_file(int home, const char *from, const char *to, mode_t mode, Error **err)
{
	g_autofree char *data = NULL;
	size_t length;
	Error *error = NULL;
	if (file_read(home, from, FILE_LINKS_BENEATH, FILE_LIMIT, &data, &length, &error) == 0)
		return file_write_atomic(home, to, data, length, mode, err);
	if (error->kind != ERROR_NOT_FOUND)
		return error_propagate(err, error);
	error_free(error);
	return 0;
}

static int copy_server_certificates(int home, const char *source, Error **err)
{
	g_autofree char *from = g_build_filename(source, "servercerts", NULL);
	g_autofree char *to = g_build_filename(ours, "servercerts", NULL);
	g_autoptr(GPtrArray) names = NULL;
	autofd int dir = file_openat(home, from, O_RDONLY | O_DIRECTORY, 0, FILE_LINKS_BENEATH);
	if (dir < 0)
		return 0;
	if (file_names(dir, &names, err) < 0 || file_mkdir_beneath(home, to, 0750, TRUE, err) < 0)
		return -1;
	for (guint i = 0; i < names->len; i++) {
		g_autofree char *one = g_build_filename(from, names->pdata[i], NULL);
		g_autofree char *other = g_build_filename(to, names->pdata[i], NULL);
		if (copy_file(home, one, other, 0644, err) < 0)
			return -1;
	}
	return 0;
}

static int convert_all(int home, const char *source, Error **err)
{
	if (file_mkdir_beneath(home, ours, 0750, TRUE, err) < 0 ||
	    convert_config(home, source, err) < 0 ||
	    copy_server_certificates(home, source, err) < 0)
		return -1;
	for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
		g_autofree char *from = g_build_filename(source, files[i].name, NULL);
		g_autofree char *to = g_build_filename(ours, files[i].name, NULL);
		if (copy_file(home, from, to, files[i].mode, err) < 0)
			return -1;
	}
	return 0;
}

/* ---- homes ---- */

static gboolean has_folder(int home, const char *path)
{
	autofd int fd = file_openat(home, path, O_RDONLY | O_DIRECTORY, 0, FILE_LINKS_BENEATH);
	return fd >= 0;
}

static const char *source_of(int home)
{
	for (size_t i = 0; i < G_N_ELEMENTS(sources); i++)
		if (has_folder(home, sources[i]))
			return sources[i];
	return NULL;
}

static int convert_home(Journal *journal, const Home *home, Error **err)
{
	const json_t *begun = journal_find(journal, "client", "home", home->path);
	if ((begun && clients_undo(begun, err) < 0) || become(home->uid, home->gid, err) < 0)
		return -1;
	autofd int fd = open(home->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const char *source = fd < 0 ? NULL : source_of(fd);
	gboolean taken = fd >= 0 && has_folder(fd, ours);
	become_root();
	if (!source)
		return 0;
	if (taken)
		return error_set(err, ERROR_EXISTS, "There is a %s already", ours);
	json_t *details = json_pack("{s:s, s:I, s:I}", "home", home->path, "uid",
	    (json_int_t)home->uid, "gid", (json_int_t)home->gid);
	if (journal_note(journal, "client", details, err) < 0 ||
	    become(home->uid, home->gid, err) < 0)
		return -1;
	int result = convert_all(fd, source, err);
	become_root();
	if (result == 0)
		log_info("Client configuration converted", "home", home->path);
	return result;
}

static GPtrArray *list_homes(void)
{
	GPtrArray *list = g_ptr_array_new_with_free_func(home_free);
	setpwent();
	for (struct passwd *user; (user = getpwent());) {
		if (!user->pw_dir || user->pw_dir[0] != '/' || strcmp(user->pw_dir, "/") == 0)
			continue;
		Home *home = g_new0(Home, 1);
		*home = (Home){ g_strdup(user->pw_dir), user->pw_uid, user->pw_gid };
		g_ptr_array_add(list, home);
	}
	endpwent();
	return list;
}

int clients_convert(Journal *journal, Error **err)
{
	g_autoptr(GPtrArray) homes = list_homes();
	for (guint i = 0; i < homes->len; i++) {
		const Home *home = homes->pdata[i];
		g_autoptr(Error) error = NULL;
		if (convert_home(journal, home, &error) < 0)
			log_warn("Client configuration not converted", "home", home->path, "err",
			    error->message);
	}
	return 0;
}

int clients_undo(const json_t *line, Error **err)
{
	const char *home = json_string_value(json_object_get(line, "home"));
	uid_t uid = (uid_t)json_integer_value(json_object_get(line, "uid"));
	gid_t gid = (gid_t)json_integer_value(json_object_get(line, "gid"));
	if (!home || become(uid, gid, err) < 0)
		return -1;
	autofd int fd = open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	autofd int config = fd < 0 ?
	    -1 :
	    file_openat(fd, ".config", O_RDONLY | O_DIRECTORY, 0, FILE_LINKS_BENEATH);
	int result = config < 0 ? 0 : file_remove_all(config, "incus", err);
	become_root();
	return result;
}

/*
 * The simple streams format as image servers publish it: streams/v1/index.json names product files;
 * a product has versions, a version has items, and a metadata item with a root file system item is an
 * image whose fingerprint the metadata item gives ("combined_..._sha256").
 */
#include <incus/simplestreams.h>
#include "sdk/client.h"
#include "sdk/fetch.h"
#include <errno.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { DOCUMENT_LIMIT = 64 << 20 };

typedef struct Entry {
	Pb__Image image; /* first: Pb__Image pointers that are handed out are entries */
	incus_streams_file metadata, rootfs;
	gboolean newest;  /* of its product and kind: aliases mean it */
} Entry;

struct incus_streams {
	char *url;         /* without a slash at the end */
	gboolean loaded;
	GPtrArray *images; /* Entry */
	GStringChunk *text;
};

/* Kinds of root file system, best first for each type, and where their fingerprint is. */
static const struct {
	const char *ftype, *combined, *type;
} root_kinds[] = {
	{ "squashfs", "combined_squashfs_sha256", "container" },
	{ "root.tar.xz", "combined_rootxz_sha256", "container" },
	{ "disk-kvm.img", "combined_disk-kvm-img_sha256", "virtual-machine" },
	{ "uefi1.img", "combined_uefi1-img_sha256", "virtual-machine" },
	{ "disk1.img", "combined_disk1-img_sha256", "virtual-machine" },
};

static const struct {
	const char *stream, *kernel;
} architectures[] = {
	{ "amd64", "x86_64" },    { "arm64", "aarch64" },   { "armhf", "armv7l" },  { "armel", "armv6l" },
	{ "i386", "i686" },       { "ppc64el", "ppc64le" }, { "powerpc", "ppc" },   { "riscv64", "riscv64" },
	{ "s390x", "s390x" },     { "loong64", "loongarch64" },
};

static const char *kernel_architecture(const char *name)
{
	for (size_t i = 0; i < G_N_ELEMENTS(architectures); i++)
		if (strcmp(architectures[i].stream, name) == 0)
			return architectures[i].kernel;
	return name;
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

int incus_streams_open(const char *url, incus_streams **ret, incus_error **err)
{
	if (!g_str_has_prefix(url, "https://") && !g_str_has_prefix(url, "http://") && !g_str_has_prefix(url, "file://"))
		return sdk_error(err, ERROR_INVALID, "\"%s\" is no address of an image server", url);
	incus_streams *streams = g_new0(incus_streams, 1);
	streams->url = g_strdup(url);
	for (size_t length = strlen(url); length > 8 && streams->url[length - 1] == '/'; length--)
		streams->url[length - 1] = '\0';
	streams->images = g_ptr_array_new();
	streams->text = g_string_chunk_new(4096);
	*ret = streams;
	return 0;
}

static void entry_free(Entry *entry)
{
	for (size_t i = 0; i < entry->image.n_properties; i++)
		g_free(entry->image.properties[i]);
	for (size_t i = 0; i < entry->image.n_aliases; i++)
		g_free(entry->image.aliases[i]);
	g_free(entry->image.properties);
	g_free(entry->image.aliases);
	g_free(entry->image.update_source);
	g_free(entry->image.created_at);
	g_free(entry->image.uploaded_at);
	g_free(entry->image.expires_at);
	g_free(entry);
}

void incus_streams_free(incus_streams *streams)
{
	if (!streams)
		return;
	for (guint i = 0; i < streams->images->len; i++)
		entry_free(streams->images->pdata[i]);
	g_ptr_array_free(streams->images, TRUE);
	g_string_chunk_free(streams->text);
	g_free(streams->url);
	g_free(streams);
}

const char *incus_streams_url(const incus_streams *streams)
{
	return streams->url;
}

static gboolean collect(const void *data, size_t length, void *user)
{
	GString *text = user;
	if (text->len + length > DOCUMENT_LIMIT)
		return FALSE;
	g_string_append_len(text, data, length);
	return TRUE;
}

/* Paths in documents are relative to the server and stay below it. */
static gboolean path_is_safe(const char *path)
{
	return *path && *path != '/' && !strstr(path, "..") && !strstr(path, "://") && !strchr(path, '\\');
}

static json_t *load_document(incus_streams *streams, const char *path, incus_error **err)
{
	if (!path_is_safe(path)) {
		sdk_error(err, ERROR_INVALID, "The image server \"%s\" names a strange path \"%s\"", streams->url, path);
		return NULL;
	}
	g_autofree char *url = g_strconcat(streams->url, "/", path, NULL);
	GString *text = g_string_new(NULL);
	json_t *tree = NULL;
	if (fetch(url, collect, text, err) == 0) {
		json_error_t problem;
		tree = json_loadb(text->str, text->len, JSON_REJECT_DUPLICATES, &problem);
		if (!json_is_object(tree)) {
			sdk_error(err, ERROR_INVALID, "\"%s\" is no JSON object: %s", url, tree ? "it is another value" : problem.text);
			json_decref(tree);
			tree = NULL;
		}
	}
	g_string_free(text, TRUE);
	return tree;
}

static char *keep(incus_streams *streams, const char *text)
{
	return g_string_chunk_insert_const(streams->text, text);
}

static Google__Protobuf__Timestamp *timestamp_new(GDateTime *time)
{
	Google__Protobuf__Timestamp *stamp = g_new(Google__Protobuf__Timestamp, 1);
	google__protobuf__timestamp__init(stamp);
	stamp->seconds = g_date_time_to_unix(time);
	return stamp;
}

/* "20231010_13:00", "20231010" or "2028-04-01"; NULL for the rest. */
static Google__Protobuf__Timestamp *parse_day(const char *text)
{
	int year, month, day, hour = 0, minute = 0;
	if (sscanf(text, "%4d%2d%2d_%2d:%2d", &year, &month, &day, &hour, &minute) < 3 &&
	    sscanf(text, "%4d-%2d-%2d", &year, &month, &day) != 3)
		return NULL;
	g_autoptr(GDateTime) time = g_date_time_new_utc(year, month, day, hour, minute, 0);
	return time ? timestamp_new(time) : NULL;
}

static void add_property(incus_streams *streams, Pb__Image *image, const char *key, const char *value)
{
	if (!*value)
		return;
	Pb__Image__PropertiesEntry *entry = g_new(Pb__Image__PropertiesEntry, 1);
	pb__image__properties_entry__init(entry);
	entry->key = keep(streams, key);
	entry->value = keep(streams, value);
	image->properties = g_renew(Pb__Image__PropertiesEntry *, image->properties, image->n_properties + 1);
	image->properties[image->n_properties++] = entry;
}

static void add_alias(incus_streams *streams, Pb__Image *image, const char *name)
{
	Pb__ImageAlias *alias = g_new(Pb__ImageAlias, 1);
	pb__image_alias__init(alias);
	alias->name = keep(streams, name);
	image->aliases = g_renew(Pb__ImageAlias *, image->aliases, image->n_aliases + 1);
	image->aliases[image->n_aliases++] = alias;
}

/* FALSE when the item is unusable. */
static gboolean read_file(incus_streams *streams, const json_t *item, incus_streams_file *file)
{
	json_int_t size = json_integer_value(json_object_get(item, "size"));
	if (!path_is_safe(text_of(item, "path")) || strlen(text_of(item, "sha256")) != 64 || size < 0)
		return FALSE;
	file->path = keep(streams, text_of(item, "path"));
	file->sha256 = keep(streams, text_of(item, "sha256"));
	file->size = size;
	return TRUE;
}

/* What all images of one version have in common. */
typedef struct Version {
	incus_streams *streams;
	const json_t *product, *items;
	const char *name;
	gboolean newest;
} Version;

static void describe(const Version *version, Pb__Image *image, const char *kind)
{
	incus_streams *streams = version->streams;
	const json_t *product = version->product;
	const char *variant = text_of(product, "variant"), *title = text_of(product, "release_title");
	add_property(streams, image, "architecture", text_of(product, "arch"));
	add_property(streams, image, "label", text_of(version->items, "label"));
	add_property(streams, image, "os", text_of(product, "os"));
	add_property(streams, image, "release", text_of(product, "release"));
	add_property(streams, image, "version", text_of(product, "version"));
	add_property(streams, image, "variant", variant);
	add_property(streams, image, "serial", version->name);
	add_property(streams, image, "type", kind);
	g_autofree char *description = g_strdup_printf("%s %s %s%s%s (%s)", text_of(product, "os"),
	    *title ? title : text_of(product, "release"), text_of(product, "arch"),
	    *variant && strcmp(variant, "default") != 0 ? " " : "",
	    *variant && strcmp(variant, "default") != 0 ? variant : "", version->name);
	add_property(streams, image, "description", description);
}

static Entry *entry_new(const Version *version, const char *fingerprint, const char *kind, const char *type)
{
	incus_streams *streams = version->streams;
	Entry *entry = g_new0(Entry, 1);
	Pb__Image *image = &entry->image;
	pb__image__init(image);
	image->architecture = keep(streams, kernel_architecture(text_of(version->product, "arch")));
	image->fingerprint = keep(streams, fingerprint);
	image->type = keep(streams, type);
	image->public_ = TRUE;
	image->created_at = parse_day(version->name);
	image->uploaded_at = parse_day(version->name);
	image->expires_at = parse_day(text_of(version->product, "support_eol"));
	describe(version, image, kind);
	entry->newest = version->newest;
	if (version->newest) {
		g_auto(GStrv) names = g_strsplit(text_of(version->product, "aliases"), ",", -1);
		for (int i = 0; names[i]; i++)
			if (*g_strstrip(names[i]))
				add_alias(streams, image, names[i]);
	}
	return entry;
}

static void entry_add(incus_streams *streams, Entry *entry)
{
	const char *slash = strrchr(entry->metadata.path, '/');
	entry->image.filename = keep(streams, slash ? slash + 1 : entry->metadata.path);
	entry->image.size = entry->metadata.size + entry->rootfs.size;
	g_ptr_array_add(streams->images, entry);
}

static const json_t *item_of(const json_t *items, const char *ftype)
{
	const char *name;
	json_t *item;
	json_object_foreach((json_t *)items, name, item)
		if (strcmp(text_of(item, "ftype"), ftype) == 0)
			return item;
	return NULL;
}

static void read_split(const Version *version, const json_t *metadata, size_t kind)
{
	const json_t *items = json_object_get(version->items, "items");
	const json_t *rootfs = item_of(items, root_kinds[kind].ftype);
	const char *fingerprint = text_of(metadata, root_kinds[kind].combined);
	if (!*fingerprint && kind < 2)
		fingerprint = text_of(metadata, "combined_sha256");
	if (!rootfs || strlen(fingerprint) != 64)
		return;
	Entry *entry = entry_new(version, fingerprint, root_kinds[kind].ftype, root_kinds[kind].type);
	if (read_file(version->streams, metadata, &entry->metadata) && read_file(version->streams, rootfs, &entry->rootfs))
		entry_add(version->streams, entry);
	else
		entry_free(entry);
}

static void read_unified(const Version *version, const json_t *item)
{
	Entry *entry = entry_new(version, text_of(item, "sha256"), "tar.gz", "container");
	if (read_file(version->streams, item, &entry->metadata))
		entry_add(version->streams, entry);
	else
		entry_free(entry);
}

/* lxd.tar.xz is what servers that also serve LXD call the same file. */
static void read_version(const Version *version)
{
	const json_t *items = json_object_get(version->items, "items");
	const json_t *metadata = item_of(items, "incus.tar.xz"), *unified = item_of(items, "incus_combined.tar.gz");
	metadata = metadata ? metadata : item_of(items, "lxd.tar.xz");
	unified = unified ? unified : item_of(items, "lxd_combined.tar.gz");
	for (size_t kind = 0; metadata && kind < G_N_ELEMENTS(root_kinds); kind++)
		read_split(version, metadata, kind);
	if (unified)
		read_unified(version, unified);
}

static int newest_first(gconstpointer a, gconstpointer b)
{
	return -strcmp(*(char *const *)a, *(char *const *)b);
}

static void read_product(incus_streams *streams, const json_t *product)
{
	json_t *versions = json_object_get(product, "versions"), *items;
	const char *name;
	g_autoptr(GPtrArray) names = g_ptr_array_new();
	json_object_foreach(versions, name, items)
		g_ptr_array_add(names, (char *)name);
	g_ptr_array_sort(names, newest_first);
	for (guint i = 0; i < names->len; i++) {
		Version version = { streams, product, json_object_get(versions, names->pdata[i]), names->pdata[i], i == 0 };
		read_version(&version);
	}
}

static int load_products(incus_streams *streams, const char *path, incus_error **err)
{
	json_t *tree = load_document(streams, path, err);
	if (!tree)
		return -1;
	json_t *product;
	const char *name;
	json_object_foreach(json_object_get(tree, "products"), name, product)
		read_product(streams, product);
	json_decref(tree);
	return 0;
}

static int load(incus_streams *streams, incus_error **err)
{
	if (streams->loaded)
		return 0;
	json_t *index = load_document(streams, "streams/v1/index.json", err);
	if (!index)
		return -1;
	json_t *part;
	const char *name;
	int result = 0;
	json_object_foreach(json_object_get(index, "index"), name, part) {
		/* Some servers list products that are no images. */
		if (result == 0 && strcmp(text_of(part, "datatype"), "image-downloads") == 0)
			result = load_products(streams, text_of(part, "path"), err);
	}
	json_decref(index);
	streams->loaded = result == 0;
	return result;
}

int incus_streams_images(incus_streams *streams, Pb__Image *const **ret, size_t *ret_n, incus_error **err)
{
	if (load(streams, err) < 0)
		return -1;
	*ret = (Pb__Image *const *)streams->images->pdata;
	*ret_n = streams->images->len;
	return 0;
}

static Entry *find(incus_streams *streams, const char *fingerprint, incus_error **err)
{
	if (load(streams, err) < 0)
		return NULL;
	Entry *found = NULL;
	for (guint i = 0; *fingerprint && i < streams->images->len; i++) {
		Entry *entry = streams->images->pdata[i];
		if (!g_str_has_prefix(entry->image.fingerprint, fingerprint))
			continue;
		if (found && strcmp(found->image.fingerprint, entry->image.fingerprint) != 0) {
			sdk_error(err, ERROR_INVALID, "Several images of \"%s\" start with \"%s\"", streams->url, fingerprint);
			return NULL;
		}
		found = entry;
	}
	if (!found)
		sdk_error(err, ERROR_NOT_FOUND, "Image \"%s\" not found on \"%s\"", fingerprint, streams->url);
	return found;
}

int incus_streams_image(incus_streams *streams, const char *fingerprint, const Pb__Image **ret, incus_error **err)
{
	Entry *entry = find(streams, fingerprint, err);
	if (!entry)
		return -1;
	*ret = &entry->image;
	return 0;
}

/* `name` may end in the architecture as the server calls it: "debian/12/arm64". */
static gboolean has_alias(const Entry *entry, const char *name, const char *architecture)
{
	for (size_t i = 0; i < entry->image.n_aliases; i++) {
		const char *alias = entry->image.aliases[i]->name, *rest = name + strlen(alias);
		if (!g_str_has_prefix(name, alias))
			continue;
		if (!*rest)
			return strcmp(entry->image.architecture, architecture) == 0;
		if (*rest == '/' && strcmp(kernel_architecture(rest + 1), entry->image.architecture) == 0)
			return TRUE;
	}
	return FALSE;
}

int incus_streams_alias(incus_streams *streams, const char *alias, const char *architecture, const char *type,
    const Pb__Image **ret, incus_error **err)
{
	struct utsname host;
	uname(&host);
	if (load(streams, err) < 0)
		return -1;
	const Entry *found = NULL;
	for (guint i = 0; i < streams->images->len; i++) {
		const Entry *entry = streams->images->pdata[i];
		if (type && *type && strcmp(entry->image.type, type) != 0)
			continue;
		/* Containers come first within a version, and the better form first. */
		if (!found && has_alias(entry, alias, architecture && *architecture ? architecture : host.machine))
			found = entry;
	}
	if (!found)
		return sdk_error(err, ERROR_NOT_FOUND, "Alias \"%s\" not found on \"%s\"", alias, streams->url);
	*ret = &found->image;
	return 0;
}

int incus_streams_files(incus_streams *streams, const char *fingerprint, incus_streams_file *ret_metadata,
    incus_streams_file *ret_rootfs, incus_error **err)
{
	Entry *entry = find(streams, fingerprint, err);
	if (!entry)
		return -1;
	*ret_metadata = entry->metadata;
	*ret_rootfs = entry->rootfs;
	return 0;
}

typedef struct Saving {
	const incus_streams_file *file;
	int fd, write_error;
	uint64_t done;
	EVP_MD_CTX *hash;
	incus_streams_progress progress;
	void *data;
} Saving;

static gboolean save(const void *data, size_t length, void *user)
{
	Saving *saving = user;
	const char *next = data;
	EVP_DigestUpdate(saving->hash, data, length);
	saving->done += length;
	if (saving->done > saving->file->size)
		return FALSE;
	while (length > 0) {
		ssize_t put = write(saving->fd, next, length);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0) {
			saving->write_error = errno;
			return FALSE;
		}
		next += put;
		length -= put;
	}
	return !saving->progress || saving->progress(saving->done, saving->file->size, saving->data) == 0;
}

static int check_download(Saving *saving, const char *url, incus_error **err)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned length = 0;
	char hex[65] = "";
	EVP_DigestFinal_ex(saving->hash, digest, &length);
	for (unsigned i = 0; i < 32 && i < length; i++)
		g_snprintf(hex + 2 * i, 3, "%02x", digest[i]);
	if (saving->done != saving->file->size)
		return sdk_error(err, ERROR_INVALID, "\"%s\" has %" G_GUINT64_FORMAT " bytes and not %" G_GUINT64_FORMAT, url,
		    saving->done, saving->file->size);
	if (g_ascii_strcasecmp(hex, saving->file->sha256) != 0)
		return sdk_error(err, ERROR_INVALID, "\"%s\" has SHA-256 %s and not %s", url, hex, saving->file->sha256);
	return 0;
}

int incus_streams_download(incus_streams *streams, const incus_streams_file *file, int fd,
    incus_streams_progress progress, void *data, incus_error **err)
{
	g_autofree char *url = g_strconcat(streams->url, "/", file->path, NULL);
	Saving saving = { .file = file, .fd = fd, .progress = progress, .data = data, .hash = EVP_MD_CTX_new() };
	EVP_DigestInit_ex(saving.hash, EVP_sha256(), NULL);
	incus_error *problem = NULL;
	int result = fetch(url, save, &saving, &problem);
	if (saving.write_error)
		result = sdk_error_errno(err, ERROR_INTERNAL, saving.write_error, "Cannot write what comes from \"%s\"", url);
	else if (result == 0 || saving.done > file->size)
		result = check_download(&saving, url, err);
	else if (err && !*err)
		*err = g_steal_pointer(&problem);
	incus_error_free(problem);
	EVP_MD_CTX_free(saving.hash);
	return result;
}

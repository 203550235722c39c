#include "server/helper/spawner/shift.h"
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

/* A header, the label, entries, and an entry of tree END_MARK whose inode is their number. */
typedef struct Header {
	char magic[16];
	uint64_t label; /* its length, a multiple of 8 with its end */
} Header;
static const char magic[16] = "incus-shift-1\n";
enum { LABEL_MAX = 1 << 20 };
#define END_MARK UINT32_MAX

int shift_journal_open(ShiftJournal *journal, const char *path)
{
	memset(journal, 0, sizeof(*journal));
	journal->fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	return journal->fd < 0 ? -1 : flock(journal->fd, LOCK_EX);
}

/* ---- writing ---- */

int shift_journal_begin(ShiftJournal *journal, const char *label)
{
	static const char zeroes[8];
	size_t length = strlen(label) + 1;
	Header header = { .label = (length + 7) / 8 * 8 };
	memcpy(header.magic, magic, sizeof(magic));
	if (ftruncate(journal->fd, 0) < 0 || lseek(journal->fd, 0, SEEK_SET) < 0)
		return -1;
	int fd = dup(journal->fd);
	FILE *out = journal->out = fd < 0 ? NULL : fdopen(fd, "w");
	if (!out)
		return -1;
	return fwrite(&header, sizeof(header), 1, out) == 1 &&
		    fwrite(label, 1, length, out) == length &&
		    fwrite(zeroes, 1, header.label - length, out) == header.label - length
		? 0
		: -1;
}

int shift_journal_add(ShiftJournal *journal, const ShiftEntry *entry, const void *values)
{
	journal->n_entries++;
	return fwrite(entry, sizeof(*entry), 1, journal->out) == 1 &&
		    fwrite(values, 1, entry->size, journal->out) == entry->size
		? 0
		: -1;
}

static int sync_folder(const char *path)
{
	char copy[4096];
	if (strlen(path) >= sizeof(copy)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(copy, path, strlen(path) + 1);
	int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int result = fd < 0 ? -1 : fsync(fd);
	if (fd >= 0)
		close(fd);
	return result;
}

int shift_journal_end(ShiftJournal *journal, const char *path)
{
	ShiftEntry end = { .inode = journal->n_entries, .tree = END_MARK };
	FILE *out = journal->out;
	int written = fwrite(&end, sizeof(end), 1, out) == 1 && fflush(out) == 0 &&
	    fsync(journal->fd) == 0;
	fclose(out);
	journal->out = NULL;
	return written ? sync_folder(path) : -1;
}

/* ---- reading ---- */

static const ShiftEntry *entry_at(const ShiftJournal *journal, size_t at)
{
	if (at + sizeof(ShiftEntry) > journal->length)
		return NULL;
	const ShiftEntry *entry = (const void *)(journal->bytes + at);
	return entry->size % 8 == 0 && entry->size <= journal->length - at - sizeof(ShiftEntry) ?
		  entry :
		  NULL;
}

/* Whether its end is there; counts the entries. */
static int is_whole(ShiftJournal *journal)
{
	const ShiftEntry *entry;
	uint64_t n = 0;
	for (size_t at = journal->first; (entry = entry_at(journal, at)); n++) {
		if (entry->tree == END_MARK) {
			journal->n_entries = n;
			return entry->inode == n;
		}
		at += sizeof(ShiftEntry) + entry->size;
	}
	return 0;
}

static uint64_t slot_of(const ShiftJournal *journal, uint32_t tree, uint64_t inode)
{
	return ((inode ^ ((uint64_t)tree << 48)) * 0x9e3779b97f4a7c15ULL >> 16) &
	    (journal->n_table - 1);
}

static int make_table(ShiftJournal *journal)
{
	const ShiftEntry *entry;
	for (journal->n_table = 64; journal->n_table < journal->n_entries * 2;)
		journal->n_table *= 2;
	journal->table = calloc(journal->n_table, sizeof(*journal->table));
	if (!journal->table)
		return -1;
	for (size_t at = journal->first; (entry = entry_at(journal, at));) {
		if (entry->tree == END_MARK)
			break;
		uint64_t slot = slot_of(journal, entry->tree, entry->inode);
		while (journal->table[slot]) /* what has several names is there as often, the same */
			slot = (slot + 1) & (journal->n_table - 1);
		journal->table[slot] = at;
		at += sizeof(ShiftEntry) + entry->size;
	}
	return 0;
}

int shift_journal_load(ShiftJournal *journal)
{
	struct stat st;
	if (fstat(journal->fd, &st) < 0)
		return -1;
	if ((size_t)st.st_size < sizeof(Header))
		return 0;
	journal->length = (size_t)st.st_size;
	journal->bytes = mmap(NULL, journal->length, PROT_READ, MAP_PRIVATE, journal->fd, 0);
	if (journal->bytes == MAP_FAILED)
		return -1;
	const Header *header = (const void *)journal->bytes;
	journal->first = sizeof(Header) + header->label;
	journal->label = journal->bytes + sizeof(Header);
	if (memcmp(header->magic, magic, sizeof(magic)) != 0 || header->label > LABEL_MAX ||
	    header->label % 8 != 0 || journal->first >= journal->length ||
	    !memchr(journal->label, '\0', header->label) || !is_whole(journal))
		return 0;
	return make_table(journal) < 0 ? -1 : 1;
}

const ShiftEntry *shift_journal_find(const ShiftJournal *journal, uint32_t tree, uint64_t inode)
{
	uint64_t slot = slot_of(journal, tree, inode);
	for (; journal->table[slot]; slot = (slot + 1) & (journal->n_table - 1)) {
		const ShiftEntry *entry = entry_at(journal, journal->table[slot]);
		if (entry->tree == tree && entry->inode == inode)
			return entry;
	}
	return NULL;
}

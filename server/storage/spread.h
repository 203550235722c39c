#pragma once
/*
 * Where on the disk a volume's directory comes to lie, for drivers that keep volumes as directories.
 * ext4 puts a tree's inodes near its root, and without a journal it steps over every inode that was
 * freed in the last five minutes, one by one, for each file it makes: a tree of 30,000 files on the
 * place of one just removed costs 30 s instead of 3. A directory whose parent has the T attribute
 * (pool_repair.c) is placed by its name, so making it again under another name moves it.
 */

/* mkdir(path, 0700), away from where trees were removed lately. `beside` is a name in a directory
 * with the T attribute, on the same file system: the new one is made there under a name that begins
 * so, and moved. -1 is errno. */
int spread_mkdir(const char *path, const char *beside);
/* To be told before a volume's tree is removed. */
void spread_removing(const char *path);

/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the linux_*.c files share; nothing outside of them and their tests includes this. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/guid.h"
#include "machine/machine.h"

struct stat;

/** The directory that paths beginning with '/' count from. */
struct root_dir {
	int fd;
	bool confined;    /* symbolic links cannot lead out of it (--root) */
	const char *text; /* put before paths in messages: "" or the directory */
};

struct linux_machine {
	struct machine machine; /* first */
	struct root_dir root;
	char *text; /* owns root.text */
};

static inline struct linux_machine *linux_machine_of(struct machine *machine)
{
	return (struct linux_machine *)machine;
}

/* linux_root.c: files below a root directory */

/** open(2) below the root, with O_CLOEXEC. The fd or -errno. */
int root_open(const struct root_dir *root, const char *path, int flags, mode_t mode);
/** stat(2) below the root. 0 or -errno. */
int root_stat(const struct root_dir *root, const char *path, struct stat *ret);
/** Where the symbolic link at `path` leads. *ret is owned by the caller. 0 or -errno. */
int root_read_link(const struct root_dir *root, const char *path, char **ret);
/** Appends a whole file of at most `max` bytes. 0 or -errno, without an error text. */
int root_read_file(const struct root_dir *root, const char *path, size_t max, struct buffer *out);
/**
 * A whole small file, NUL-terminated, owned by the caller. 0 or -errno: -ENOENT absent, -EFBIG
 * above MACHINE_TEXT_MAX. Sets no error text: most callers go on without the file.
 */
int root_read_text(const struct root_dir *root, const char *path, char **ret);
/** The names in a directory, sorted. 0 or -errno, without an error text. */
int root_list(const struct root_dir *root, const char *path, struct text_list *ret);
/** The same for an open directory. */
int directory_list(int directory, struct text_list *ret);

/* linux_mounts.c: /proc/self/mountinfo */

struct mount_entry {
	dev_t device;
	char *root;  /* what of the file system is mounted: "/" for all of it */
	char *point; /* where */
	char *type;
	char *source;
	char *super_options; /* of the file system; owned strings, escapes undone */
	bool read_only;      /* this mount; the file system may be so besides */
};

struct mount_list {
	struct mount_entry *items;
	size_t count;
};

/** Reads the text of a mountinfo file (proc(5)); lines it does not understand are left out. */
int mounts_parse(const char *text, struct mount_list *ret, struct error *error);
/** What is mounted in this mount namespace, oldest first. */
int mounts_read(const struct root_dir *root, struct mount_list *ret, struct error *error);
/** The top mount at `point`; NULL: nothing is mounted there. Borrowed. */
const struct mount_entry *mounts_at(const struct mount_list *mounts, const char *point);
/** The value of `key=` among comma-separated options, owned by the caller; NULL: absent. */
char *mount_option(const char *options, const char *key);
void mount_list_done(struct mount_list *mounts);

#define AUTO_MOUNTS __attribute__((cleanup(mount_list_done)))

/* linux_block.c: block devices as sysfs, GPT and udev tell them */

#define BLOCK_NAME_SIZE  64
#define BLOCK_LABEL_SIZE 128 /* 36 UTF-16 units in UTF-8 */

struct block_facts {
	char name[BLOCK_NAME_SIZE]; /* in sysfs: "nvme0n1p2" */
	char node[BLOCK_NAME_SIZE]; /* below /dev, mostly the same */
	char disk[BLOCK_NAME_SIZE]; /* the disk it is a part of, or itself */
	dev_t device;
	uint32_t number;        /* of the partition; 0: a whole disk */
	bool mapped;            /* a partition that device-mapper makes, as kpartx does */
	uint64_t start, size;   /* 512-byte units, whatever the disk's */
	uint32_t logical_block; /* bytes */
	char label[BLOCK_LABEL_SIZE];
	struct guid partuuid, type;
	bool has_label, has_partuuid, has_type;
};

struct block_list {
	struct block_facts *items;
	size_t count;
};

/** What sysfs tells of the block device `name`. 0 or -errno (-ENODEV: no such), no error text. */
int block_read(const struct root_dir *root, const char *name, struct block_facts *ret);
/** The same by device number. */
int block_read_device(const struct root_dir *root, dev_t device, struct block_facts *ret);
/** All partitions of all disks, mapped ones too, in sysfs order by name. */
int block_list_partitions(const struct root_dir *root, struct block_list *ret, struct error *error);
/**
 * Fills in the label, PARTUUID and type that sysfs did not tell for the partitions of `disk`, from
 * the GPT (libblkid), else from udev. What cannot be learnt stays unknown.
 */
void block_list_probe(const struct root_dir *root, struct block_list *list, const char *disk);
/** Whether its type is known and that of an EFI System Partition. */
bool block_is_esp(const struct block_facts *facts);
/** Appends a copy. 0 or -ENOMEM. */
int block_list_add(struct block_list *list, const struct block_facts *facts, struct error *error);
bool block_list_has(const struct block_list *list, const char *name);
/** Whether one of the devices lies on `disk`. */
bool block_list_has_disk(const struct block_list *list, const char *disk);
void block_list_done(struct block_list *list);

#define AUTO_BLOCKS __attribute__((cleanup(block_list_done)))

/* linux_find.c: which block device is meant */

/**
 * Appends to `stack` the device and all that it lies on: through device-mapper and md (slaves/),
 * loop devices (their file's device) and the disks of md partitions.
 */
int find_stack(
	const struct root_dir *root, dev_t device, struct block_list *stack, struct error *error);
/**
 * The devices that the running system's "/" and "/usr" lie on. Empty when they lie on none (an
 * initrd, a network file system).
 */
int find_root_stack(const struct root_dir *root, struct block_list *ret, struct error *error);
/**
 * The partition that PARTLABEL=… or PARTUUID=… names: on the disks of `stack` if it is there, else
 * on any other. -ENODEV, -ENOTUNIQ, -EINVAL (neither of the two forms).
 */
int find_partition(const struct root_dir *root, const struct block_list *stack, const char *device,
	struct block_facts *ret, struct error *error);
/**
 * Whether the system lies on the device: it is in `stack`, or is a whole disk under something in
 * it.
 */
bool find_holds(const struct block_list *stack, const struct block_facts *facts);
/**
 * The EFI System Partition: on a disk that `beside` lies on (NULL: none; a partition, or what is
 * stacked on some), else on a disk of `stack`, else on any other. Of several on a disk, one that is
 * mounted. A member of an array stands for the array, which *ret is then. -ENODEV, -ENOTUNIQ,
 * -EACCES (the types of the partitions cannot be read), -EBUSY (a member of an array that does not
 * run).
 */
int find_esp(const struct root_dir *root, const struct block_list *stack,
	const struct mount_list *mounts, const char *beside, struct block_facts *ret,
	struct error *error);

/**
 * Another partition with the PARTUUID of `facts`, on any disk, that is neither in `stack` nor seen
 * through a disk of it. *ret_found false: none, or the partition tables cannot be read. 0 or
 * -errno.
 */
int find_twin(const struct root_dir *root, const struct block_facts *facts,
	const struct block_list *stack, struct block_facts *ret, bool *ret_found,
	struct error *error);

/* linux_raid.c: what lies on partitions, and what arrays lie on */

enum raid_use {
	RAID_PLAIN,   /* nothing lies on it */
	RAID_TOP,     /* an array or a mapping, which stands for it */
	RAID_IDLE,    /* it is a member of an array that does not run */
	RAID_UNCLEAR, /* several devices lie on it */
};

/** What a partition is used through; *ret_top is that, or the partition itself. */
enum raid_use raid_use_of(const struct root_dir *root, const struct block_facts *partition,
	struct block_facts *ret_top);
/** Whether it holds the superblock of an array. False where it cannot be read. */
bool raid_is_member(const struct root_dir *root, const struct block_facts *facts);
/** Sets the error for a member without its array. Returns -EBUSY. */
int raid_member_failed(const struct block_facts *member, struct error *error);
/**
 * Whether the disk that the partition is seen on belongs to something else as a whole (the path of
 * a multipath disk, a member of an array of disks): then the partition is there a second time.
 */
bool raid_shadowed(const struct root_dir *root, const struct block_facts *partition);
/** Whether `name` is no member of an array of `stack`, or one that is in sync. */
bool raid_in_sync(const struct root_dir *root, const struct block_list *stack, const char *name);
/** Whether an array of `stack` lacks members; then *ret is its name. */
bool raid_degraded(
	const struct root_dir *root, const struct block_list *stack, char ret[BLOCK_NAME_SIZE]);
/**
 * The partition that firmware sees a file system on: `stack`'s first device itself, or one under
 * it that begins with the same file system and is in sync; of several, one of the EFI System
 * Partition's type on a disk of `near`, then that with the lowest PARTUUID. `stack` is what
 * find_stack() gives, probed.
 * NULL: none. Borrowed from `stack`.
 */
const struct block_facts *raid_part(
	const struct root_dir *root, const struct block_list *stack, const struct block_list *near);

/* linux_holders.c: what a device is used by */

/**
 * Appends a few words for each thing that keeps the device, a partition of it or the disk under it
 * from being opened exclusively: "mounted at /x", "used by /dev/dm-1 (name)", "used as swap",
 * "opened by process 12 (dd)". Nothing if it cannot be seen from here. 0 or -errno.
 */
int holders_list(const struct root_dir *root, const struct block_facts *facts,
	struct text_list *ret, struct error *error);
/** The same of loop devices only: these do not open what they lie on exclusively. */
int holders_list_loops(const struct root_dir *root, const struct block_facts *facts,
	struct text_list *ret, struct error *error);

/* linux_fat.c: what must be known of a FAT before a file on it may be overwritten or deleted */

/** A FAT12, FAT16 or FAT32 file system. */
struct fat_volume {
	int fd; /* borrowed: the block device or an image */
	unsigned int bits;
	uint32_t sector;     /* bytes */
	uint32_t cluster;    /* sectors */
	uint32_t first_data; /* sector of cluster 2 */
	uint32_t clusters;   /* clusters 2 .. clusters + 1 exist */
	uint64_t table;      /* offset of the first FAT, bytes */
};

/** Reads the boot sector. 0, -EINVAL (not a FAT), -errno. */
int fat_open(int fd, struct fat_volume *ret);
/** The cluster that a sector lies in; 0: in none. */
uint32_t fat_cluster_of(const struct fat_volume *volume, uint32_t sector);
/** Bytes needed for the bitmap of fat_claim(). */
size_t fat_bitmap_size(const struct fat_volume *volume);
enum fat_chain {
	FAT_CHAIN_UNSOUND, /* not ended, shared, or too short: no write, no delete */
	FAT_CHAIN_SOUND,
	FAT_CHAIN_LONG, /* sound, but longer than the size: Linux takes appending for damage */
};

/**
 * Follows the chain from cluster `first` of a file of `size` bytes and marks its clusters in
 * `claimed`. A cluster that was marked before makes it unsound.
 */
enum fat_chain fat_claim(
	const struct fat_volume *volume, uint32_t first, uint64_t size, uint8_t *claimed);

/* linux_vfat.c: replacing and removing files such that a power cut does no harm */

/** The system calls it makes, so that tests can record their order and let each one fail. */
struct vfat_calls {
	int (*open)(int directory, const char *name, int flags, mode_t mode);
	int (*close)(int fd);
	int (*stat)(int fd, struct stat *ret);
	ssize_t (*read)(int fd, void *data, size_t size, off_t offset);
	ssize_t (*write)(int fd, const void *data, size_t size, off_t offset);
	int (*truncate)(int fd, off_t size);
	int (*drop_cache)(int fd); /* posix_fadvise(POSIX_FADV_DONTNEED) of everything */
	int (*sync)(int fd);       /* fsync */
	int (*sync_all)(int fd);   /* syncfs */
	int (*rename)(int directory, const char *from, const char *to);
	int (*unlink)(int directory, const char *name);
	int (*make_folder)(int directory, const char *name);
	int (*list)(int directory, struct text_list *ret);
	/** The sector that the file's first byte lies in (FIBMAP); 0: in none. */
	int (*first_sector)(int fd, uint32_t *ret);
	bool (*is_fat)(int fd);
	int (*space)(int fd, uint64_t *ret_free, uint32_t *ret_cluster);
};

/** The real ones: return -1 and errno like their system calls. */
extern const struct vfat_calls vfat_linux_calls;

/** A folder on the ESP. */
struct vfat_folder {
	const struct vfat_calls *calls;
	int fd;
	int device; /* the block device, for flushing its cache and reading the FAT; -1: none */
};

/**
 * Replaces or creates the file `name`; one that is there is spelled as it is there. A power cut
 * leaves the old content or the new one (of a file that did not exist: none, an empty one or the
 * new one). -ENOSPC with how much is missing; -EIO, also when what is read back differs.
 */
int vfat_replace(const struct vfat_folder *folder, const char *name, struct span content,
	struct error *error);
/** Removes the file `name`, durably. Absent is fine. */
int vfat_remove(const struct vfat_folder *folder, const char *name, struct error *error);
/** Makes the folder `name` below, durably. That it is there already is fine. */
int vfat_make_folder(const struct vfat_folder *folder, const char *name, struct error *error);

/* linux_mount.c: mounting the ESP */

/** Whether the file system that `fd` lies on is a FAT. */
bool mount_is_fat(int fd);
/**
 * Mounts a FAT partition read-only where no path leads to: it is there as long as *ret_mount is
 * open. *ret_directory is its root. Both belong to the caller. -EACCES without privileges, -ENODEV
 * without vfat in the kernel.
 */
int mount_privately(const char *node, int *ret_mount, int *ret_directory, struct error *error);
/** Makes a file system mounted by mount_privately() writable. */
int mount_private_writable(int directory, struct error *error);
/** Remounts the mount whose root `directory` is, its other flags kept. 0 or -errno, no text. */
int mount_set_read_only(int directory, bool read_only);

/* The operations of struct machine_ops; documented there. */

int linux_file_read(struct machine *machine, const char *path, size_t max, struct buffer *ret,
	struct error *error);
int linux_file_replace(struct machine *machine, const char *path, struct span content, bool secret,
	struct error *error);
int linux_file_remove(struct machine *machine, const char *path, struct error *error);

int linux_partition_open(struct machine *machine, const char *device, enum partition_mode mode,
	struct partition **ret, struct error *error);
uint64_t linux_partition_size(struct machine *machine, struct partition *partition);
int linux_partition_read(struct machine *machine, struct partition *partition, uint64_t offset,
	void *data, size_t size, struct error *error);
int linux_partition_write(struct machine *machine, struct partition *partition, uint64_t offset,
	const void *data, size_t size, struct error *error);
int linux_partition_flush(
	struct machine *machine, struct partition *partition, struct error *error);
void linux_partition_close(struct machine *machine, struct partition *partition);
int linux_partition_holds_root(
	struct machine *machine, const char *device, bool *ret, struct error *error);

int linux_esp_open(struct machine *machine, const struct esp_settings *settings, struct esp **ret,
	struct error *error);
int linux_esp_read(struct machine *machine, struct esp *esp, const char *path, size_t max,
	struct buffer *ret, struct error *error);
int linux_esp_read_at(struct machine *machine, struct esp *esp, const char *path, uint64_t offset,
	void *data, size_t size, size_t *ret_got, struct error *error);
int linux_esp_digest(struct machine *machine, struct esp *esp, const char *path,
	uint8_t *ret_sha256, uint64_t *ret_size, struct error *error);
int linux_esp_replace(struct machine *machine, struct esp *esp, const char *path,
	struct span content, struct error *error);
int linux_esp_remove(
	struct machine *machine, struct esp *esp, const char *path, struct error *error);
int linux_esp_list(struct machine *machine, struct esp *esp, const char *path,
	struct text_list *ret, struct error *error);
int linux_esp_space(
	struct machine *machine, struct esp *esp, struct esp_space *ret, struct error *error);
int linux_esp_location(
	struct machine *machine, struct esp *esp, struct esp_location *ret, struct error *error);
int linux_esp_twin(struct machine *machine, struct esp *esp, char **ret, struct error *error);
int linux_esp_survey(
	struct machine *machine, struct esp *esp, struct esp_survey *ret, struct error *error);
int linux_esp_clash(struct machine *machine, struct esp *esp, const char *path, char **ret,
	struct error *error);
void linux_esp_close(struct machine *machine, struct esp *esp);
int linux_lock(struct machine *machine, struct esp *esp, const char *folder, bool wait, bool make,
	struct machine_lock **ret, struct error *error);
void linux_unlock(struct machine *machine, struct machine_lock *lock);

void linux_init(struct machine *machine, struct machine_init *ret);
int linux_failed_units(struct machine *machine, struct text_list *ret, struct error *error);
int linux_restart_blockers(struct machine *machine, struct text_list *ret, struct error *error);
int linux_restart(
	struct machine *machine, enum machine_restart how, bool force, struct error *error);

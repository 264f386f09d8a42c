/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What firmware.c and firmware_view.c share. */

#include <stdbool.h>

#include "boot/boot.h"

struct error;
struct esp_location;

/** The backend of boot_firmware_new(). */
struct firmware {
	struct boot boot;
	struct boot_settings settings;
	bool told; /* which variables are skipped: once is enough */
};

static inline struct firmware *firmware_of(struct boot *boot)
{
	return (struct firmware *)boot;
}

/** Where the ESP lies on its disk. -ENODEV: it is not reachable; -ENODATA: it cannot be told. */
int firmware_esp_location(struct firmware *firmware, struct esp_location *ret, struct error *error);

/** boot_ops.view() */
int firmware_view(struct boot *boot, struct boot_view *ret, struct error *error);

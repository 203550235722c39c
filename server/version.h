#pragma once
/* The version that /1.0, `incus version` and the packages show. */
#define INCUS_VERSION "0.1"

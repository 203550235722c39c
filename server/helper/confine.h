#pragma once
/* Paths as a program sees them that `incus-spawner --confined` runs (spawner/spawner.h). */
#define CONFINE_PLACE "/place"
#define CONFINE_SELF "/incus-spawner"

#pragma once
/* Names in C as protoc-gen-c makes them from names in the schema. */
#include <glib.h>

char *name_snake(const char *camel);              /* "GetProfile" -> "get_profile" */
char *name_camel(const char *snake);              /* "config_entry" -> "ConfigEntry" */
char *name_type(const char *package, const char *name);  /* "pb", "Profile.X" -> "Pb__Profile__X" */
char *name_lower(const char *package, const char *name); /* "pb", "Profile.X" -> "pb__profile__x" */
char *name_field(const char *field);              /* lower case, "_" after reserved words */

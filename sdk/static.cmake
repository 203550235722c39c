# Release programs whose INCUS_STATIC property is "grpc" link gRPC's archives, those with "all" the
# archives of the SDK's other libraries as well: a program linked to libgrpc.so spends most of its
# start in the dynamic linker (57 libraries). Everything else, libincus.so above all, links shared.
option(INCUS_STATIC "Let programs that ask for it link archives" ON)
if(NOT INCUS_STATIC OR NOT CMAKE_BUILD_TYPE STREQUAL "Release" OR INCUS_SANITIZE)
  return()
endif()

# incus_archives(PkgConfig::NAME "all|grpc,all" flag...): the flags instead of the shared library.
function(incus_archives target when)
  get_target_property(shared ${target} INTERFACE_LINK_LIBRARIES)
  set(wanted "$<IN_LIST:$<TARGET_PROPERTY:INCUS_STATIC>,${when}>")
  string(REGEX REPLACE "^PkgConfig::" "incus_archives_" archives ${target})
  add_library(${archives} INTERFACE) # of its own: flags with commas cannot stand in an expression
  target_link_libraries(${archives} INTERFACE ${ARGN})
  set_target_properties(${target} PROPERTIES
    INTERFACE_LINK_LIBRARIES "$<IF:${wanted},${archives},${shared}>")
endfunction()

execute_process(COMMAND ${PKG_CONFIG_EXECUTABLE} --static --libs grpc OUTPUT_VARIABLE GRPC_FLAGS
  OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
separate_arguments(GRPC_FLAGS UNIX_COMMAND "${GRPC_FLAGS}")
set(GRPC_ARCHIVES)
foreach(flag ${GRPC_FLAGS})
  if(flag MATCHES "^-l(grpc|gpr|upb|address_sorting|re2|cares|z|absl_.*)$")
    list(APPEND GRPC_ARCHIVES -l:lib${CMAKE_MATCH_1}.a)
  endif()
endforeach()
list(REMOVE_DUPLICATES GRPC_ARCHIVES)
# gRPC's own OpenSSL is named within: CMake orders targets, but not the flags of one after those of
# another.
incus_archives(PkgConfig::GRPC "grpc;all" -Wl,--gc-sections -Wl,--start-group ${GRPC_ARCHIVES}
  "$<$<STREQUAL:$<TARGET_PROPERTY:INCUS_STATIC>,all>:-l:libssl.a;-l:libcrypto.a>"
  -Wl,--end-group PkgConfig::OPENSSL -l:libstdc++.a -lm -lrt -latomic -lresolv)
incus_archives(PkgConfig::OPENSSL all -l:libssl.a -l:libcrypto.a -ldl)
incus_archives(PkgConfig::GLIB all -l:libglib-2.0.a -l:libpcre2-8.a -lm)
incus_archives(PkgConfig::PROTOBUFC all -l:libprotobuf-c.a)
incus_archives(PkgConfig::JANSSON all -l:libjansson.a)
incus_archives(PkgConfig::YAML all -l:libyaml.a)

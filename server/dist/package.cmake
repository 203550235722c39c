# What `cmake --install` puts where, and the Debian package. Included last by the top CMakeLists.txt;
# libincus and its headers are installed by sdk/, `incus` by cli/.
set(DIST ${CMAKE_SOURCE_DIR}/server/dist)
set(SHARE ${CMAKE_INSTALL_DATADIR})

# The daemon and the helpers that it starts from its own folder.
get_property(PROGRAMS DIRECTORY ${CMAKE_SOURCE_DIR}/server PROPERTY BUILDSYSTEM_TARGETS)
foreach(program ${PROGRAMS})
  get_target_property(type ${program} TYPE)
  if(type STREQUAL EXECUTABLE)
    install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/incus)
  endif()
endforeach()
# What a virtual machine's config drive carries: the agent, and how a guest's init starts it.
install(TARGETS incus-agent RUNTIME DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/incus)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/server/agent/dist/ DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/incus/agent
  USE_SOURCE_PERMISSIONS)
install(CODE "
  file(MAKE_DIRECTORY \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_BINDIR}\")
  file(CREATE_LINK ../${CMAKE_INSTALL_LIBEXECDIR}/incus/incusd
    \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_BINDIR}/incusd\" SYMBOLIC)")

# Units name the place they are installed to, which is known only then.
install(CODE "
  set(CMAKE_INSTALL_FULL_LIBEXECDIR \${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBEXECDIR})
  foreach(unit incus.service incus.socket incus-startup.service)
    configure_file(${DIST}/\${unit}.in ${CMAKE_BINARY_DIR}/dist/\${unit} @ONLY)
  endforeach()")
install(FILES ${CMAKE_BINARY_DIR}/dist/incus.service ${CMAKE_BINARY_DIR}/dist/incus.socket
  ${CMAKE_BINARY_DIR}/dist/incus-startup.service DESTINATION lib/systemd/system)

# The schema and what is made of it for readers.
install(DIRECTORY ${CMAKE_SOURCE_DIR}/api/incus ${CMAKE_SOURCE_DIR}/api/google
  DESTINATION ${SHARE}/incus/api FILES_MATCHING PATTERN "*.proto" PATTERN "agent.proto" EXCLUDE)
install(FILES ${CMAKE_BINARY_DIR}/api/openapi.json DESTINATION ${SHARE}/incus/api)
install(DIRECTORY ${CMAKE_BINARY_DIR}/api/reference DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES ${DIST}/copyright DESTINATION ${CMAKE_INSTALL_DOCDIR})
# `install-criu /usr/libexec/incus/criu` puts CRIU where the daemon looks for it.
install(PROGRAMS ${DIST}/install-criu DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/incus)

# Manual pages and completions come from the command table of the program just built, the daemon's page
# from its help.
if(TARGET incus)
  install(CODE "
    set(ENV{INCUS_CONF} ${CMAKE_BINARY_DIR}/dist/conf)
    set(ENV{ASAN_OPTIONS} detect_leaks=0)
    file(REMOVE_RECURSE ${CMAKE_BINARY_DIR}/dist/man ${CMAKE_BINARY_DIR}/dist/completion)
    file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/dist/completion)
    execute_process(COMMAND $<TARGET_FILE:incus> manpage ${CMAKE_BINARY_DIR}/dist/man/man1
      COMMAND_ERROR_IS_FATAL ANY)
    execute_process(COMMAND $<TARGET_FILE:incusd> --help OUTPUT_VARIABLE INCUSD_HELP
      COMMAND_ERROR_IS_FATAL ANY)
    string(REPLACE \"-\" \"\\\\-\" INCUSD_HELP \"\${INCUSD_HELP}\")
    set(PROJECT_VERSION ${PROJECT_VERSION})
    configure_file(${DIST}/incusd.8.in ${CMAKE_BINARY_DIR}/dist/man/man8/incusd.8 @ONLY)
    execute_process(COMMAND $<TARGET_FILE:lxd-to-incus> --help OUTPUT_VARIABLE MIGRATE_HELP
      COMMAND_ERROR_IS_FATAL ANY)
    string(REPLACE \"-\" \"\\\\-\" MIGRATE_HELP \"\${MIGRATE_HELP}\")
    configure_file(${CMAKE_SOURCE_DIR}/migrate/lxd-to-incus.8.in
      ${CMAKE_BINARY_DIR}/dist/man/man8/lxd-to-incus.8 @ONLY)
    execute_process(COMMAND $<TARGET_FILE:incus-migrate> --help OUTPUT_VARIABLE HOST_HELP
      COMMAND_ERROR_IS_FATAL ANY)
    string(REPLACE \"-\" \"\\\\-\" HOST_HELP \"\${HOST_HELP}\")
    configure_file(${CMAKE_SOURCE_DIR}/migrate/host/incus-migrate.1.in
      ${CMAKE_BINARY_DIR}/dist/man/man1/incus-migrate.1 @ONLY)
    file(GLOB PAGES ${CMAKE_BINARY_DIR}/dist/man/*/*)
    execute_process(COMMAND gzip -9nf \${PAGES} COMMAND_ERROR_IS_FATAL ANY)
    execute_process(COMMAND gzip -9nc ${DIST}/changelog OUTPUT_FILE ${CMAKE_BINARY_DIR}/dist/changelog.gz
      COMMAND_ERROR_IS_FATAL ANY)
    foreach(shell bash zsh fish)
      execute_process(COMMAND $<TARGET_FILE:incus> completion \${shell}
        OUTPUT_FILE ${CMAKE_BINARY_DIR}/dist/completion/\${shell} COMMAND_ERROR_IS_FATAL ANY)
    endforeach()")
  install(DIRECTORY ${CMAKE_BINARY_DIR}/dist/man/ DESTINATION ${CMAKE_INSTALL_MANDIR})
  install(FILES ${CMAKE_BINARY_DIR}/dist/changelog.gz DESTINATION ${CMAKE_INSTALL_DOCDIR})
  install(FILES ${DIST}/lintian-overrides DESTINATION ${SHARE}/lintian/overrides RENAME incus)
  install(FILES ${CMAKE_BINARY_DIR}/dist/completion/bash
    DESTINATION ${SHARE}/bash-completion/completions RENAME incus)
  install(FILES ${CMAKE_BINARY_DIR}/dist/completion/zsh DESTINATION ${SHARE}/zsh/vendor-completions RENAME _incus)
  install(FILES ${CMAKE_BINARY_DIR}/dist/completion/fish
    DESTINATION ${SHARE}/fish/vendor_completions.d RENAME incus.fish)
endif()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME incus)
set(CPACK_PACKAGE_VENDOR Incus)
set(CPACK_PACKAGE_CONTACT "Incus developers <incus@incus.example>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Manager of system containers and virtual machines")
set(CPACK_PACKAGE_DESCRIPTION
"One daemon that runs containers and virtual machines, stores their images,
volumes and snapshots and networks them. This package has the daemon, the
command line, and the C library with what is needed to build against it.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${CMAKE_BINARY_DIR}/lib)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
# Programs that the daemon runs; liblxc-common has the folder that liblxc mounts root file systems on.
set(CPACK_DEBIAN_PACKAGE_DEPENDS "dnsmasq-base, liblxc-common, squashfs-tools")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "lxcfs")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "libprotobuf-c-dev, pkg-config, libvirt-daemon, libvirt-daemon-driver-qemu, qemu-system-x86, qemu-utils, ovmf, swtpm, swtpm-tools")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${DIST}/postinst ${DIST}/prerm ${DIST}/postrm ${DIST}/triggers)
include(CPack)

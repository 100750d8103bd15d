// Package guest runs test binaries on another kernel than the machine's: Debian's,
// with its loadable modules, in a small emulated machine without disk and without
// network. Dataplanes are promised for kernels older than the one that a developer
// has, and for IPVS and SCTP, which not every kernel is built with.
//
// A guest is a kernel and an initramfs: the program of the folder init as process 1,
// the modules that the test needs, the test binary, and programs of this machine with
// their shared libraries. It needs no root and touches nothing: the emulator is an
// ordinary process, and hardware virtualisation is not asked for, because a device
// node does not tell whether it works.
//
// The package must not know what is tested in the guest.
package guest

// Package tested is compiled and run as a test binary by a test of the harness.
package tested

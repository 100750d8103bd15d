// Package test holds the tests that look at the repository as a whole.
package test

// root is the top of the repository, seen from this package.
const root = ".."

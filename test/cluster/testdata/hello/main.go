// Command hello is a program that the tests of the build compile.
package main

import "fmt"

func main() { fmt.Println("hello v1") }

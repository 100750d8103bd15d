package tested

import (
	"fmt"
	"os"
	"testing"
)

func TestMain(*testing.M) {
	fmt.Println("tested v1")
	os.Exit(0)
}

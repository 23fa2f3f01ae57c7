package store_test

import (
	"testing"

	"anling/store/storetest"
)

func TestCalls(t *testing.T) { storetest.Each(t, storetest.Calls) }

package store_test

import (
	"testing"

	"anling/store/storetest"
)

func TestSOS(t *testing.T) { storetest.Each(t, storetest.SOS) }

package store_test

import (
	"testing"

	"anling/store/storetest"
)

func TestDispatch(t *testing.T) { storetest.Each(t, storetest.Dispatch) }

package store_test

import (
	"testing"

	"anling/store/storetest"
)

func TestRegistry(t *testing.T)           { storetest.Each(t, storetest.Registry) }
func TestRegistryConcurrent(t *testing.T) { storetest.Each(t, storetest.RegistryConcurrent) }

package store_test

import (
	"testing"

	"anling/store/storetest"
)

func TestRegistry(t *testing.T)           { storetest.Each(t, storetest.Registry) }
func TestRegistryConcurrent(t *testing.T) { storetest.Each(t, storetest.RegistryConcurrent) }
func TestRegistryImport(t *testing.T)     { storetest.Each(t, storetest.RegistryImport) }
func TestRegistryCutOff(t *testing.T)     { storetest.Each(t, storetest.RegistryCutOff) }
func TestRegistryTwoImports(t *testing.T) { storetest.Each(t, storetest.RegistryTwoImports) }
func TestRegistryDistrict(t *testing.T)   { storetest.Each(t, storetest.RegistryDistrict) }

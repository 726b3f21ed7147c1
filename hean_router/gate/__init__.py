"""Floor 2: the last look before an order leaves.  It folds committed rows and shares nothing."""

"""What files say of themselves: signature, metadata, versions. Nothing is run."""

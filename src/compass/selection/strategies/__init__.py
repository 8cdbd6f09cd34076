"""Selection strategies, one small file each; `compass.selection.catalogue` names them."""

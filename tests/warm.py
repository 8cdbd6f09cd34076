"""The model that identifies languages, loaded before commands are forked: each would load it for itself."""

from compass.data.identify import evidence

evidence("helo")

#include <pinion/core/place.hpp>

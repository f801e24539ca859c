#pragma once

#include <memory>

#include <pinion/core/clock.hpp>
#include <pinion/core/status.hpp>

#include "launch/exchange.hpp"

namespace pinion {

/// The exchange of the launcher that has started this process, by PMIx, whose library is loaded
/// here. It gives the launcher back what it took of it when it ends: what follows is no business of
/// PMIx, neither who dies nor who is told of that.
/// Errors: kUnimplemented when this build has no PMIx, or its library is not installed;
///   kUnavailable when the launcher does not answer.
[[nodiscard]] Result<std::unique_ptr<IExchange>> open_pmix_exchange(Duration patience);

}  // namespace pinion

// Which instruction set the hot loops use: the best that this machine has, unless a test or a benchmark says
// otherwise.
#pragma once

#include <string>
#include <vector>

namespace forgetcli {

enum class Variant { portable, avx2, avx512 };

// The one in use; safe to call from any thread.
Variant current_variant();

// The names of those that this machine can run and that this build holds, best first.
std::vector<std::string> available_variants();

// Makes current_variant() the named one. Throws std::invalid_argument for a name not among the available ones.
// Work under way goes on with the one it started with.
void use_variant(const std::string& name);

}  // namespace forgetcli

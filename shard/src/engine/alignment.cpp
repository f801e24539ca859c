#include <pinion/shard/alignment.hpp>

namespace pinion {
namespace {

std::string quoted(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string words = "\"";
  for (const char byte : text) {
    const auto code = static_cast<unsigned char>(byte);
    if (byte == '"' || byte == '\\') {
      words += {'\\', byte};
    } else if (code >= 0x20 && code < 0x7f) {
      words += byte;
    } else {
      words += {'\\', 'x', kDigits[code >> 4], kDigits[code & 15]};
    }
  }
  return words + '"';
}

}  // namespace

std::string Alignment::find_flaw() const {
  if (kind_ == Kind::kDelimiter && (length_ == 0 || length_ > kDelimiterBytesMax)) {
    return "the delimiter of align_to has " + std::to_string(length_) + " bytes; 1 to " +
           std::to_string(kDelimiterBytesMax) + " are possible";
  }
  if (kind_ == Kind::kRecords && length_ == 0) {
    return "align_to_records(0): a record has at least 1 byte";
  }
  return "";
}

std::string Alignment::describe() const {
  switch (kind_) {
    case Kind::kNone:
      return "";
    case Kind::kRecords:
      return "align_to_records(" + std::to_string(length_) + ")";
    case Kind::kDelimiter:
      break;
  }
  return *this == align_to_line ? "align_to_line" : "align_to(" + quoted(delimiter()) + ")";
}

}  // namespace pinion

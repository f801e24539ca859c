#include "svg_drawing.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace pinion {
namespace {

// How wide a character is on average, in sizes of the font: DejaVu Sans, which is a wide one.
constexpr double kCharacterWidth = 0.6;
constexpr double kBoldFactor = 1.15;
constexpr double kLineHeight = 1.3;
constexpr double kBaseline = 0.98;  // Of the line's top, in sizes of the font.

// How many bytes the UTF-8 character at the front of `text` has; 0 for none that XML may hold.
// Surrogates and numbers too large are left to the reader's eyes.
std::size_t character_size(std::string_view text) {
  const auto byte = static_cast<unsigned char>(text.front());
  const std::size_t size = byte < 0x80   ? 1
                           : byte < 0xc2 ? 0
                           : byte < 0xe0 ? 2
                           : byte < 0xf0 ? 3
                           : byte < 0xf5 ? 4
                                         : 0;
  if (size == 1) {
    return byte >= 0x20 && byte != 0x7f ? 1 : 0;
  }
  if (size == 0 || size > text.size()) {
    return 0;
  }
  const bool whole = std::all_of(text.begin() + 1, text.begin() + static_cast<std::ptrdiff_t>(size),
                                 [](char next) { return (next & 0xc0) == 0x80; });
  return whole ? size : 0;
}

struct Escaped {
  std::string text = {};
  std::size_t character_count = 0;
};

Escaped escape(std::string_view text) {
  Escaped escaped;
  while (!text.empty()) {
    const std::size_t size = character_size(text);
    const std::string_view character = text.substr(0, std::max<std::size_t>(1, size));
    escaped.text += size == 0          ? "?"
                    : character == "&" ? "&amp;"
                    : character == "<" ? "&lt;"
                    : character == ">" ? "&gt;"
                                       : character;
    ++escaped.character_count;
    text.remove_prefix(character.size());
  }
  return escaped;
}

std::string moved(const SvgDrawing& piece, double x, double y) {
  if (piece.elements.empty()) {
    return {};
  }
  return fmt::format("<g transform=\"translate({:g},{:g})\">{}</g>\n", x, y, piece.elements);
}

std::string box(double width, double height, const SvgBoxStyle& style) {
  const double half = style.stroke_width / 2;
  return fmt::format(
      "<rect x=\"{:g}\" y=\"{:g}\" width=\"{:g}\" height=\"{:g}\" rx=\"{:g}\" fill=\"{}\" "
      "stroke=\"{}\" stroke-width=\"{:g}\"{}/>",
      half, half, width - style.stroke_width, height - style.stroke_width, style.radius, style.fill,
      style.stroke, style.stroke_width, style.dashed ? " stroke-dasharray=\"4 3\"" : "");
}

std::string text_element(const Escaped& text, double x, double y, const SvgTextStyle& style,
                         std::string_view anchor) {
  return fmt::format(
      "<text x=\"{:g}\" y=\"{:g}\" font-size=\"{:g}\" fill=\"{}\"{} text-anchor=\"{}\">{}</text>",
      x, y, style.size, style.fill, style.bold ? " font-weight=\"bold\"" : "", anchor, text.text);
}

}  // namespace

SvgDrawing svg_text(std::string_view text, const SvgTextStyle& style) {
  const Escaped escaped = escape(text);
  const double width = static_cast<double>(escaped.character_count) * style.size * kCharacterWidth *
                       (style.bold ? kBoldFactor : 1);
  return {width, style.size * kLineHeight,
          text_element(escaped, 0, style.size * kBaseline, style, "start")};
}

SvgDrawing svg_cell(std::string_view text, double width, double height,
                    const SvgBoxStyle& box_style, const SvgTextStyle& style) {
  constexpr double kMiddleToBaseline = 0.36;
  return {width, height,
          box(width, height, box_style) + text_element(escape(text), width / 2,
                                                       height / 2 + style.size * kMiddleToBaseline,
                                                       style, "middle")};
}

SvgDrawing svg_frame(const SvgDrawing& inner, const SvgBoxStyle& style) {
  const double width = inner.width + 2 * style.padding;
  const double height = inner.height + 2 * style.padding;
  return {width, height, box(width, height, style) + moved(inner, style.padding, style.padding)};
}

SvgDrawing svg_tooltip(const SvgDrawing& inner, std::string_view text) {
  return {inner.width, inner.height,
          "<g><title>" + escape(text).text + "</title>" + inner.elements + "</g>"};
}

SvgDrawing svg_grid(const std::vector<SvgDrawing>& pieces, std::size_t columns, double gap) {
  std::vector<double> widths(std::max<std::size_t>(1, columns), 0);
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    double& width = widths[i % widths.size()];
    width = std::max(width, pieces[i].width);
  }
  SvgDrawing grid;
  for (std::size_t first = 0; first < pieces.size(); first += widths.size()) {
    const std::size_t end = std::min(pieces.size(), first + widths.size());
    double x = 0;
    double height = 0;
    const double y = grid.height > 0 ? grid.height + gap : 0;
    for (std::size_t i = first; i < end; ++i) {
      grid.elements += moved(pieces[i], x, y);
      grid.width = std::max(grid.width, x + pieces[i].width);
      height = std::max(height, pieces[i].height);
      x += widths[i - first] > 0 ? widths[i - first] + gap : 0;
    }
    grid.height = height > 0 ? y + height : grid.height;
  }
  return grid;
}

SvgDrawing svg_stack(const std::vector<SvgDrawing>& pieces, double gap) {
  return svg_grid(pieces, 1, gap);
}

std::string svg_file(const SvgDrawing& drawing, std::string_view title) {
  constexpr double kMargin = 16;
  const double width = drawing.width + 2 * kMargin;
  const double height = drawing.height + 2 * kMargin;
  return fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" "
      "viewBox=\"0 0 {0:.0f} {1:.0f}\" font-family=\"DejaVu Sans, Verdana, Helvetica, Arial, "
      "sans-serif\">\n<title>{2}</title>\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{3}</svg>\n",
      width, height, escape(title).text, moved(drawing, kMargin, kMargin));
}

}  // namespace pinion

#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace pinion {

/// A piece of a picture: SVG elements that lie within (0, 0) and (width, height), in pixels. Pieces
/// are put together from the inside to the outside, so nobody computes an absolute position.
struct SvgDrawing {
  double width = 0;
  double height = 0;
  std::string elements = {};
};

struct SvgBoxStyle {
  std::string fill = "#ffffff";
  std::string stroke = "#5f6b7a";
  double stroke_width = 1;
  bool dashed = false;
  double radius = 4;
  double padding = 6;
};

struct SvgTextStyle {
  double size = 12;
  std::string fill = "#1d2733";
  bool bold = false;
};

/// One line of text. Its width is an estimate on the wide side, as nothing measures the font. Bytes
/// that are no UTF-8 or no character of XML become "?".
[[nodiscard]] SvgDrawing svg_text(std::string_view text, const SvgTextStyle& style = {});

/// A box of a fixed size with a short text in its middle.
[[nodiscard]] SvgDrawing svg_cell(std::string_view text, double width, double height,
                                  const SvgBoxStyle& box, const SvgTextStyle& style);

/// A box around a piece.
[[nodiscard]] SvgDrawing svg_frame(const SvgDrawing& inner, const SvgBoxStyle& style = {});

/// The piece with a text that appears when the mouse rests on it.
[[nodiscard]] SvgDrawing svg_tooltip(const SvgDrawing& inner, std::string_view text);

/// Pieces in rows of `columns`, at least 1, each as wide as its column needs. Empty pieces take
/// no place.
[[nodiscard]] SvgDrawing svg_grid(const std::vector<SvgDrawing>& pieces, std::size_t columns,
                                  double gap);

/// Pieces below each other.
[[nodiscard]] SvgDrawing svg_stack(const std::vector<SvgDrawing>& pieces, double gap);

/// The whole file, with a white background.
[[nodiscard]] std::string svg_file(const SvgDrawing& drawing, std::string_view title);

}  // namespace pinion

#include "topology_view.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "recorded_machines.hpp"
#include "svg_drawing.hpp"
#include "temporary_folder.hpp"

namespace pinion {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::load;
using ::testing::Not;
using testing::RecordedMachine;

std::string text_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// After a wanted change of the form, read the difference, then write the files anew with
// `pinion topo FILE.xml`.
std::string golden(const std::string& file) {
  return text_of(std::string(PINION_NUMA_GOLDEN) + "/" + file);
}

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    ++count;
  }
  return count;
}

// The first tag that closes what is not open, or stays open; empty for a well-formed text.
std::string unbalanced(const std::string& xml) {
  std::vector<std::string> open;
  for (std::size_t at = xml.find('<'); at != std::string::npos; at = xml.find('<', at + 1)) {
    const std::size_t end = xml.find('>', at);
    if (end == std::string::npos) {
      return xml.substr(at);
    }
    const std::string tag = xml.substr(at + 1, end - at - 1);
    if (tag.front() == '/') {
      if (open.empty() || open.back() != tag.substr(1)) {
        return tag;
      }
      open.pop_back();
    } else if (tag.front() != '?' && tag.back() != '/') {
      open.push_back(tag.substr(0, tag.find(' ')));
    }
  }
  return open.empty() ? "" : open.back();
}

class RecordedView : public ::testing::TestWithParam<RecordedMachine> {};

// tests/data/topologies/README.md says how the tables were checked.
TEST_P(RecordedView, IsTheTableThatIsWrittenDown) {
  const std::string file = GetParam().file;
  const std::string name = file.substr(0, file.rfind('.'));
  EXPECT_EQ(draw_table({.topology = load(file)}),
            text_of(testing::path_of("expected/" + name + ".table")));
}

TEST_P(RecordedView, IsAPictureWithEveryCpuNodeAndDeviceOnce) {
  const Topology topology = load(GetParam().file);
  const std::string svg = draw_svg({.topology = topology});
  EXPECT_THAT(svg, AllOf(HasSubstr("<svg xmlns=\"http://www.w3.org/2000/svg\""),
                         HasSubstr("for planning only"), Not(HasSubstr("<script")),
                         Not(HasSubstr("href")), Not(HasSubstr("nan")), Not(HasSubstr("inf"))));
  EXPECT_EQ(unbalanced(svg), "");
  EXPECT_EQ(count_of(svg, "<title>CPU "), topology.cpu_count());
  EXPECT_EQ(count_of(svg, ", usable</title>"), topology.usable_cpu_count());
  EXPECT_EQ(count_of(svg, "usable memory</title>"), topology.nodes().size());
  for (const GpuInfo& gpu : topology.gpus()) {
    EXPECT_EQ(count_of(svg, gpu.bus_id), 1u) << gpu.bus_id;
  }
  for (const NicInfo& nic : topology.nics()) {
    EXPECT_EQ(count_of(svg, nic.bus_id), 1u) << nic.bus_id;
  }
}

INSTANTIATE_TEST_SUITE_P(All, RecordedView, ::testing::ValuesIn(testing::kRecordedMachines),
                         testing::case_name);

TEST(TopologyView, DrawsDevicesAndDistancesAsATree) {
  EXPECT_EQ(draw_tree({.topology = load("llnl-lassen-p9-4xV100.xml")}),
            golden("llnl-lassen-p9-4xV100.tree"));
}

TEST(TopologyView, DrawsMemoryOnlyNodesAsATree) {
  EXPECT_EQ(draw_tree({.topology = load("knl-snc4-flat-mcdram-8numa.xml")}),
            golden("knl-snc4-flat-mcdram-8numa.tree"));
}

TEST(TopologyView, DrawsKindsOfCoresAsATree) {
  EXPECT_THAT(draw_tree({.topology = load("intel-hybrid-6P8E.xml")}),
              HasSubstr("kinds of cores\n"
                        "    efficiency   CPUs 12-19  up to 3900 MHz\n"
                        "    performance  CPUs 0-11   up to 5000 MHz\n"));
}

TEST(TopologyView, WritesDevicesAndDistancesAsJson) {
  EXPECT_EQ(write_json({.topology = load("llnl-lassen-p9-4xV100.xml")}),
            golden("llnl-lassen-p9-4xV100.json"));
}

TEST(TopologyView, WritesMemoryOnlyNodesAsJson) {
  EXPECT_EQ(write_json({.topology = load("knl-snc4-flat-mcdram-8numa.xml")}),
            golden("knl-snc4-flat-mcdram-8numa.json"));
}

TEST(TopologyView, SaysWhetherTheMachineIsThisOneAndWhoLimitsItsMemory) {
  const Topology topology = Topology::of_this_machine().value();
  const TopologyView view{.topology = topology,
                          .memory = MemoryLimits{.limit = {3u << 30, "/somewhere/memory.max"},
                                                 .available = {1u << 30, "/proc/meminfo"}}};
  EXPECT_THAT(draw_tree(view),
              AllOf(HasSubstr("this machine\n"),
                    HasSubstr("memory: at most 3.0 GiB, says /somewhere/memory.max\n"),
                    HasSubstr("1.0 GiB of it available, says /proc/meminfo\n")));
  EXPECT_THAT(draw_table(view), HasSubstr("3221225472 bytes, says /somewhere/memory.max\n"));
  EXPECT_THAT(write_json(view),
              AllOf(HasSubstr("\"planning_only\": false"), HasSubstr("\"bytes\": 3221225472"),
                    HasSubstr("\"source\": \"/somewhere/memory.max\"")));
  EXPECT_THAT(draw_svg(view), HasSubstr("memory: at most 3.0 GiB, 1.0 GiB of it available"));
}

// A file that anybody may have written.
TEST(TopologyView, LetsNoNameOfAFileSteerATerminalOrAPicture) {
  std::string text = text_of(testing::path_of("power8-4xP100.xml"));
  const std::string model = "Tesla P100-SXM2-16GB";
  for (std::size_t at = text.find(model); at != std::string::npos; at = text.find(model, at)) {
    text.replace(at, model.size(), "\x7f[31m&lt;script&gt;&amp;x");
  }
  const TemporaryFolder folder;
  const Topology topology = Topology::from_xml(folder.write("hostile.xml", text)).value();
  EXPECT_THAT(draw_tree({.topology = topology}),
              AllOf(HasSubstr("<script>&x"), Not(HasSubstr("\x7f"))));
  EXPECT_THAT(draw_table({.topology = topology}), Not(HasSubstr("\x7f")));
  const std::string svg = draw_svg({.topology = topology});
  EXPECT_THAT(svg, AllOf(HasSubstr("?[31m&lt;script&gt;&amp;x"), Not(HasSubstr("<script")),
                         Not(HasSubstr("\x7f"))));
  EXPECT_EQ(unbalanced(svg), "");
}

TEST(SvgDrawing, TakesOnlyWholeCharacters) {
  EXPECT_THAT(svg_text("\xc3\xa9t\xc3\xa9").elements, HasSubstr(">\xc3\xa9t\xc3\xa9<"));
  EXPECT_THAT(svg_text("a\xc3").elements, HasSubstr(">a?<"));
  EXPECT_THAT(svg_text("\xff\x80\xe2\x82").elements, HasSubstr(">" + std::string(4, '?') + "<"));
}

TEST(SvgDrawing, GivesEveryPieceItsPlace) {
  const SvgDrawing small{.width = 10, .height = 20, .elements = "<a/>"};
  const SvgDrawing wide{.width = 30, .height = 5, .elements = "<b/>"};
  const SvgDrawing grid = svg_grid({small, wide, wide, {}, small}, 2, 4);
  EXPECT_EQ(grid.width, 30 + 4 + 30);
  EXPECT_EQ(grid.height, 20 + 4 + 5 + 4 + 20);
  EXPECT_THAT(grid.elements,
              AllOf(HasSubstr("translate(34,0)\"><b/>"), HasSubstr("translate(0,24)\"><b/>"),
                    HasSubstr("translate(0,33)\"><a/>")));
  const SvgDrawing framed = svg_frame(grid, {.padding = 3});
  EXPECT_EQ(framed.width, grid.width + 6);
  EXPECT_EQ(framed.height, grid.height + 6);
}

}  // namespace
}  // namespace pinion

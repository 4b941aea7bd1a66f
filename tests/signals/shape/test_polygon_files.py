"""OBJ, OFF, PLY and STL files: polygons of any size, and what real exporters write."""

import gzip

import numpy as np
import pytest

from cube_mesh import CUBE
from prism_mesh import PRISM, PRISM_FACES, prism_distance, volume
from softmine.errors import SoftmineError
from softmine.signals import Shape
from softmine.signals.shape import files as mesh_files

CUBE_SQUARES = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]


def obj(vertices, faces):
    lines = [f"v {x} {y} {z}" for x, y, z in vertices]
    return "\n".join(lines + ["f " + " ".join(str(i + 1) for i in face) for face in faces]) + "\n"


def off(vertices, faces):
    lines = ["OFF", f"{len(vertices)} {len(faces)} 0", *(f"{x} {y} {z}" for x, y, z in vertices)]
    return "\n".join(lines + [" ".join(map(str, [len(face), *face])) for face in faces]) + "\n"


def ply(vertices, faces, form="ascii", count="uchar", index="int", name="vertex_indices", extra=False):
    """A PLY file; with ``extra``, its rows have other numbers and lists as well, and more elements around them."""
    types = {"uchar": "u1", "ushort": "u2", "uint": "u4", "int": "i4", "float": "f4", "double": "f8"}
    order = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}[form]
    head, rows = ["ply", f"format {form} 1.0", "comment made by a test", "obj_info as old ones have it"], []

    def row(*numbers):
        if order:
            rows.append(b"".join(np.array(number, order + types[kind]).tobytes() for number, kind in numbers))
        else:
            rows.append((" ".join(repr(number) for number, _ in numbers) + "\n").encode())

    if extra:
        head += ["element camera 1", "property float view", "property list uchar int ids"]
        row((0.5, "float"), (2, "uchar"), (7, "int"), (8, "int"))
    head += [f"element vertex {len(vertices)}", "property double x", "property double y", "property double z"]
    head += ["property uchar red"] if extra else []
    for place in vertices:
        row(*((float(number), "double") for number in place), *([(200, "uchar")] if extra else []))
    head.append(f"element face {len(faces)}")
    head += ["property uchar flags", "property list uchar float texcoord"] if extra else []
    head.append(f"property list {count} {index} {name}")
    head += ["property float quality"] if extra else []
    for face in faces:
        before = (
            [(1, "uchar"), (2 * len(face), "uchar"), *([(0.25, "float")] * 2 * len(face))] if extra else []
        )
        after = [(1.5, "float")] if extra else []
        row(*before, (len(face), count), *((corner, index) for corner in face), *after)
    if extra:
        head += ["element edge 1", "property int vertex1", "property int vertex2"]
        row((0, "int"), (1, "int"))
    return "\n".join([*head, "end_header\n"]).encode() + b"".join(rows)


PLY_FORMS = ["ascii", "binary_little_endian", "binary_big_endian"]
PRISM_FILES = {
    "obj": obj(PRISM, PRISM_FACES).encode(),
    "off": off(PRISM, PRISM_FACES).encode(),
    **{f"{form}.ply": ply(PRISM, PRISM_FACES, form) for form in PLY_FORMS},
    **{f"{form}.extra.ply": ply(PRISM, PRISM_FACES, form, extra=True) for form in PLY_FORMS},
    "wide.ply": ply(PRISM, PRISM_FACES, "binary_little_endian", "uint", "uint", "vertex_index"),
    "short.ply": ply(PRISM, PRISM_FACES, "binary_big_endian", "ushort", "uchar"),
}


def read(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return mesh_files.read(path)


def is_cube(mesh, notes=()):
    assert mesh.closed
    assert mesh.faces.shape == (12, 3)
    assert volume(mesh) == pytest.approx(1)
    assert mesh.notes == list(notes)


@pytest.mark.parametrize("name", PRISM_FILES)
def test_distances_to_a_solid_with_concave_polygons_are_exact(tmp_path, name):
    path = tmp_path / f"prism.{name}"
    path.write_bytes(PRISM_FILES[name])
    shape = Shape.read(path)
    assert shape.closed
    assert shape.notes == []
    assert len(shape.faces) == 20
    points = np.random.default_rng(0).uniform(-0.4, 2.4, (1500, 3))
    points[:2] = [[1.2, 1.2, 0], [1.1, 1.4, 0.02]]
    found = shape.distance((points - shape.center) * shape.scale + 0.5)[0] / shape.scale
    np.testing.assert_allclose(found, prism_distance(points), atol=1e-9)
    np.testing.assert_allclose(found[:2], [0.2, 0.1], atol=1e-9)


@pytest.mark.parametrize("start", range(4))
def test_concave_quads_are_cut_inside(tmp_path, start):
    # An arrow head, extruded: its area is 4.
    outline = np.roll(np.array([[0, 0], [2, -1], [0, 3], [-2, -1.0]]), start, 0)
    places = [[x, y, z] for z in (0, 1) for x, y in outline]
    sides = [[i, (i + 1) % 4, (i + 1) % 4 + 4, i + 4] for i in range(4)]
    mesh = read(tmp_path, "arrow.obj", obj(places, [[3, 2, 1, 0], [4, 5, 6, 7], *sides]))
    assert mesh.closed
    assert volume(mesh) == pytest.approx(6)
    assert mesh.notes == []


class TestObj:
    squares = obj(CUBE, CUBE_SQUARES)

    @pytest.mark.parametrize(
        "change",
        [
            lambda text: "\ufeff" + text,
            lambda text: text.replace(" ", "\t"),
            lambda text: text.replace("\n", " # it's a comment\n"),
            lambda text: text.replace("\n", "#close\n"),
            lambda text: text.replace("\n", "\r\n"),
            lambda text: text.replace("\n", "\r"),
            lambda text: text.replace("\n", "  \n\n"),
            lambda text: "".join(f"   {line}\n" for line in text.splitlines()),
            lambda text: text.replace(" ", "   "),
            lambda text: "".join(line.replace(" ", " \\\n ", 2) + "\n" for line in text.splitlines()),
            lambda text: text.rstrip("\n"),
            lambda text: text.replace("f ", "fo "),
            lambda text: text.replace("f ", "o part\ng one two\nusemtl red\ns 1\nf "),
            lambda text: "mtllib gone.mtl\nvn 0 0 1\nvt 0 0\n" + text.replace("v ", "v ").replace("\nf", "\nvt 0.5 1\nf"),
        ],
        ids=["bom", "tabs", "comments", "comments without a space", "crlf", "cr", "blank lines", "indents", "spaces",
             "continued", "no last newline", "fo", "groups", "other lines"],
    )  # fmt: skip
    def test_lines_as_exporters_write_them(self, tmp_path, change):
        is_cube(read(tmp_path, "cube.obj", change(self.squares)))

    @pytest.mark.parametrize("corner", ["{0}/{0}", "{0}/{0}/{0}", "{0}//{0}", "{0}/", "{0}//", "{0}/-1/-1"])
    def test_corners_with_textures_and_normals(self, tmp_path, corner):
        lines = [f"v {x} {y} {z}" for x, y, z in CUBE]
        lines += ["f " + " ".join(corner.format(i + 1) for i in face) for face in CUBE_SQUARES]
        is_cube(read(tmp_path, "cube.obj", "\n".join(lines)))

    @pytest.mark.parametrize("more", [" 1.0", " 0.2 0.3 0.4", " 1 0.2 0.3 0.4"])
    def test_vertices_with_weights_and_colors(self, tmp_path, more):
        lines = [f"v {x} {y} {z}{more}" for x, y, z in CUBE]
        is_cube(read(tmp_path, "cube.obj", "\n".join(lines) + "\n" + obj([], CUBE_SQUARES)))

    def test_some_vertices_with_colors_and_some_without(self, tmp_path):
        lines = [f"v {x} {y} {z}{' 1 0 0' if x else ''}" for x, y, z in CUBE]
        is_cube(read(tmp_path, "cube.obj", "\n".join(lines) + "\n" + obj([], CUBE_SQUARES)))

    def test_negative_corners_count_back_from_their_line(self, tmp_path):
        text = ""
        for step in range(3):
            text += obj(CUBE + np.array([3 * step, 0, 0]), [])
            text += "".join("f " + " ".join(f"{i - 8}/{i - 8}" for i in face) + "\n" for face in CUBE_SQUARES)
        mesh = read(tmp_path, "cubes.obj", text)
        assert len(mesh.faces) == 36
        assert volume(mesh) == pytest.approx(3)
        assert (mesh.vertices[:, 0].min(), mesh.vertices[:, 0].max()) == (0, 7)
        mixed = text.splitlines()
        mixed[8] = "f 1 2 -5 -6"
        assert volume(read(tmp_path, "mixed.obj", "\n".join(mixed))) == pytest.approx(3)

    def test_parts_between_vertices_and_objects_are_all_read(self, tmp_path):
        text = ""
        for step in range(2):
            text += f"o part{step}\n" + obj(CUBE + np.array([3 * step, 0, 0]), []) + "usemtl same\n"
            text += "".join(
                "f " + " ".join(str(i + 1 + 8 * step) for i in face) + "\n" for face in CUBE_SQUARES
            )
        assert volume(read(tmp_path, "two.obj", text)) == pytest.approx(2)

    def test_what_is_no_face_is_said_to_be_left_out(self, tmp_path):
        mesh = read(tmp_path, "cube.obj", self.squares + "l 1 2 3\np 4\nsurf 0 1 0 1 1 2 3 4\n")
        is_cube(mesh, ["only its faces are read, not what else is in it (l, p, surf)"])
        heavy = self.squares.replace("v 1.0 1.0 1.0", "v 1.0 1.0 1.0 2.0")
        is_cube(
            read(tmp_path, "heavy.obj", heavy), ["weights (w) of vertices, which only curves use, left out"]
        )

    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            ("f 1 2", "f 0 2", "names vertex 0"),
            ("f 1 2", "f -9 2", "before the first vertex"),
            ("f 1 2", "f 99 2", "number 99, counted from 1, where it has 8 vertices"),
            ("f 1 2", "f 1.5 2", "face 0, counted from 0, is '1.5 2 4 3'"),
            ("f 1 2", "f one 2", "face 0, counted from 0, is 'one 2 4 3'"),
            ("v 0.0 0.0 1.0", "v 0,0 0,0 1,0", "vertex 1, counted from 0, is '0,0 0,0 1,0'"),
            ("v 0.0 0.0 1.0", "v 0.0 0.0", "vertex 1, counted from 0, has fewer than 3"),
            ("v 0.0 0.0 1.0", "v 0.0 0.0 -1.#IND", "vertex 1, counted from 0, is '0.0 0.0 -1.#IND'"),
            ("v 0.0 0.0 1.0", "v 0.0 0.0-1 1.0", "vertex 1, counted from 0"),
            ("v 0.0 0.0 1.0", "v 0.0 0.0 inf", "NaN or infinite"),
        ],
    )
    def test_damaged_rows_are_shown(self, tmp_path, old, new, words):
        with pytest.raises(SoftmineError, match=words):
            read(tmp_path, "cube.obj", self.squares.replace(old, new))


class TestOff:
    squares = off(CUBE, CUBE_SQUARES)

    @pytest.mark.parametrize(
        "change",
        [
            lambda text: "\ufeff# made by a test\n" + text,
            lambda text: text.replace(" ", "\t"),
            lambda text: text.replace("\n", " # comment\n"),
            lambda text: text.replace("\n", "\r\n"),
            lambda text: text.replace("OFF\n", "OFF"),
            lambda text: text.replace("OFF\n", "OFF "),
            lambda text: text.replace("\n", "\n\n"),
            lambda text: text.replace("\n4 ", "\n4  ").replace("6 4\n", "6 4 0.5 0.25 1\n"),
            lambda text: text.replace("OFF", "COFF").replace(".0\n", ".0 255 0 0 255\n"),
            lambda text: text.replace("OFF", "NOFF").replace(".0\n", ".0 0 0 1\n"),
        ],
        ids=["bom", "tabs", "comments", "crlf", "glued", "counts beside", "blank lines", "face colors", "COFF", "NOFF"],
    )  # fmt: skip
    def test_lines_as_exporters_write_them(self, tmp_path, change):
        is_cube(read(tmp_path, "cube.off", change(self.squares)))

    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            ("OFF", "4OFF", "not of three coordinates"),
            ("OFF", "nOFF", "not of three coordinates"),
            ("OFF", "OFF BINARY", "a binary OFF file"),
            ("OFF", "POFF", "does not begin with the word OFF"),
            ("8 6 0", "8 9 0", "14 rows long where its header promises 17"),
            ("8 6 0", "8", "does not say how many"),
            ("4 0 1 3 2", "5 0 1 3 2", "fewer corners than they promise"),
            ("4 0 1 3 2", "4 0 1 3 9", "number 10, counted from 1, where it has 8 vertices"),
            ("4 0 1 3 2", "4 0 1 3 2.5", "number -1"),
        ],
    )
    def test_what_cannot_be_read_is_refused(self, tmp_path, old, new, words):
        with pytest.raises(SoftmineError, match=words):
            read(tmp_path, "cube.off", self.squares.replace(old, new))

    @pytest.mark.parametrize(
        "change",
        [
            lambda head, points, faces: [*head, " ".join(points), *faces],
            lambda head, points, faces: [
                *head,
                *(" ".join(points[i : i + 2]) for i in range(0, 8, 2)),
                *faces,
            ],
            lambda head, points, faces: [*head, *"\n".join(points).replace(" ", "\n").split(), *faces],
            lambda head, points, faces: [" ".join([*head, *points, *faces])],
        ],
        ids=["all on one line", "two a line", "a number a line", "everything on one line"],
    )
    def test_vertices_need_no_lines_of_their_own(self, tmp_path, change):
        lines = self.squares.splitlines()
        text = "\n".join(change(lines[:2], lines[2:10], lines[10:])) + "\n"
        is_cube(read(tmp_path, "cube.off", text))
        with pytest.raises(SoftmineError):
            read(tmp_path, "cube.off", text[:-3])

    def test_headers_of_old_files(self, tmp_path):
        is_cube(read(tmp_path, "cube.off", self.squares.replace("OFF", "off")))
        note = "it does not begin with the word OFF, but with counts, as old files do"
        is_cube(read(tmp_path, "cube.off", self.squares.replace("OFF\n", "")), [note])

    def test_rows_after_the_last_face_are_said(self, tmp_path):
        is_cube(
            read(tmp_path, "cube.off", self.squares + "3 0 1 2\n" * 2),
            ["2 rows after its last face left out"],
        )


class TestPly:
    @pytest.mark.parametrize("form", PLY_FORMS)
    def test_headers_with_other_line_ends(self, tmp_path, form):
        head, end, body = ply(CUBE, CUBE_SQUARES, form).partition(b"end_header\n")
        is_cube(read(tmp_path, "cube.ply", (head + end).replace(b"\n", b"\r\n") + body))

    @pytest.mark.parametrize("form", PLY_FORMS)
    def test_strips_of_triangles(self, tmp_path, form):
        # Around the cube, and a strip for each of its two other sides.
        strips = [1, 0, 5, 4, 7, 6, 3, 2, 1, 0, -1, 4, 0, 6, 2, -1, 3, 1, 7, 5]
        content = ply(CUBE, [strips], form).replace(b"element face", b"element tristrips")
        is_cube(read(tmp_path, "strips.ply", content))

    def test_strips_and_points_of_degenerate_faces_are_said(self, tmp_path):
        mesh = read(tmp_path, "cube.ply", ply(CUBE, [*CUBE_SQUARES, [0, 1]]))
        is_cube(mesh, ["1 faces of fewer than three corners left out"])

    @pytest.mark.parametrize("form", PLY_FORMS)
    @pytest.mark.parametrize("extra", [False, True])
    def test_every_cut_is_refused(self, tmp_path, form, extra):
        whole = ply(PRISM, PRISM_FACES, form, extra=extra)
        for end in range(1, len(whole) - 1, 13):
            with pytest.raises(SoftmineError):
                read(tmp_path, "cut.ply", whole[:end])

    def test_more_than_the_header_promises(self, tmp_path):
        with pytest.raises(SoftmineError, match="3 numbers more than its header promises"):
            read(tmp_path, "long.ply", ply(CUBE, CUBE_SQUARES) + b"1 2 3")
        mesh = read(tmp_path, "long.ply", ply(CUBE, CUBE_SQUARES, "binary_big_endian") + b"123")
        is_cube(mesh, ["3 bytes after its last element left out"])

    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            (b"element vertex 8", b"element vertex -8", "the line 'element vertex -8'"),
            (b"element vertex 8", b"element vertex 99999999999999", "truncated"),
            (b"element face 6", b"element face 99999999999999", "truncated"),
            (b"property list uchar int", b"property list float int", "the line 'property list float int"),
            (b"property double x", b"property double t", "have no x, y and z"),
            (b"vertex_indices", b"material_indices", "have no list vertex_indices"),
            (b"property double x", b"property complex x", "the line 'property complex x'"),
            (b"end_header", b"end_heade", "the line 'end_heade'"),
        ],
    )
    def test_damaged_headers_are_shown(self, tmp_path, old, new, words):
        with pytest.raises(SoftmineError, match=words):
            read(tmp_path, "cube.ply", ply(CUBE, CUBE_SQUARES, "binary_little_endian").replace(old, new))

    @pytest.mark.parametrize("form", PLY_FORMS)
    def test_points_alone_are_no_shape(self, tmp_path, form):
        with pytest.raises(SoftmineError, match="only points"):
            read(tmp_path, "points.ply", ply(CUBE, [], form))


class TestStl:
    corners = CUBE[[[a, b, c] for p, q, r, s in CUBE_SQUARES for a, b, c in ((p, q, r), (p, r, s))]]

    def binary(self, head=b"made by a test"):
        rows = np.zeros(12, [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
        rows["corners"] = self.corners
        return head.ljust(80, b"\0") + (12).to_bytes(4, "little") + rows.tobytes()

    def text(self, corners, name="cube"):
        lines = [f"solid {name}"]
        for polygon in corners:
            lines += [
                "facet normal 0 0 0",
                "outer loop",
                *("vertex " + " ".join(map(str, p)) for p in polygon),
            ]
            lines += ["endloop", "endfacet"]
        return "\n".join([*lines, f"endsolid {name}"]) + "\n"

    def test_binary_files_may_begin_as_text_does(self, tmp_path):
        is_cube(read(tmp_path, "cube.stl", self.binary()))
        is_cube(read(tmp_path, "cube.stl", self.binary(b"solid cube facet")))

    def test_bytes_after_the_last_triangle_are_said(self, tmp_path):
        is_cube(
            read(tmp_path, "cube.stl", self.binary() + b"12345"), ["5 bytes after its last triangle left out"]
        )

    @pytest.mark.parametrize(
        "change",
        [
            str.upper,
            lambda text: text.replace("\n", "\r\n"),
            lambda text: text.replace("\n", " "),
            lambda text: text.replace("vertex", "   vertex\t "),
            lambda text: text.replace("solid cube", "solid"),
        ],
        ids=["upper case", "crlf", "one line", "indents", "no name"],
    )
    def test_text_as_exporters_write_it(self, tmp_path, change):
        is_cube(read(tmp_path, "cube.stl", change(self.text(self.corners))))

    def test_names_of_solids_may_hold_any_word(self, tmp_path):
        is_cube(read(tmp_path, "cube.stl", self.text(self.corners, "vertex of a solid endloop 1 2 3")))

    @pytest.mark.parametrize(
        "name", ["faceted_vase", "my facet normal", "endsolid", "facet normal vertex 1 2 3"]
    )
    def test_names_may_look_like_facets(self, tmp_path, name):
        is_cube(read(tmp_path, "cube.stl", self.text(self.corners, name)))
        cut = self.text(self.corners, name)
        with pytest.raises(SoftmineError, match="no endsolid after its last facet"):
            read(tmp_path, "cube.stl", cut[: cut.rindex(f"endsolid {name}")])

    def test_all_solids_are_read(self, tmp_path):
        text = self.text(self.corners) + self.text(self.corners + np.array([3, 0, 0]), "other")
        assert volume(read(tmp_path, "two.stl", text)) == pytest.approx(2)

    def test_facets_of_four_corners_are_cut(self, tmp_path):
        is_cube(read(tmp_path, "cube.stl", self.text(CUBE[CUBE_SQUARES])))

    def test_cut_files_are_refused(self, tmp_path):
        text = self.text(self.corners) + self.text(self.corners + np.array([3, 0, 0]), "other")
        binary = self.binary()
        for end in range(len(text) // 2 + 30, len(text) - 15, 97):
            with pytest.raises(SoftmineError, match="truncated"):
                read(tmp_path, "cut.stl", text[:end])
        for end in range(100, len(binary), 49):
            with pytest.raises(SoftmineError, match="truncated"):
                read(tmp_path, "cut.stl", binary[:end])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.obj", PRISM_FILES["obj"].decode().encode("utf-16"), "it is text in UTF-16; save it as UTF-8"),
        ("a.obj", gzip.compress(PRISM_FILES["obj"]), r"it is packed \(gzip\); unpack it first"),
        ("a.obj", b"solid a\nfacet normal 0 0 1\nouter loop\n", "its name says OBJ, but it begins as STL does; rename it to end in .stl"),
        ("a.stl", PRISM_FILES["obj"], "its name says STL, but it begins as OBJ does"),
        ("a.obj", PRISM_FILES["ascii.ply"], "its name says OBJ, but it begins as PLY does"),
        ("a.ply", PRISM_FILES["off"], "its name says PLY, but it begins as OFF does"),
    ],
)  # fmt: skip
def test_files_of_another_kind_than_their_name_are_told(tmp_path, name, content, words):
    with pytest.raises(SoftmineError, match=words):
        read(tmp_path, name, content)

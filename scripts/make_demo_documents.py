"""Write the demo clinic's PDF and Word document into ``neurant/demo/documents``.

The third document, ``Horarios y sedes.txt``, is plain text and edited by hand. The clinic is
fictitious. Run ``python scripts/make_demo_documents.py`` after a change and commit the files. The
dates inside are fixed, so that the same text gives the same document.
"""

from __future__ import annotations

import io
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import docx
from fpdf import FPDF
from fpdf.fonts import FontFace

FOLDER = Path(__file__).resolve().parent.parent / "neurant" / "demo" / "documents"
WRITTEN = datetime(2026, 1, 5, tzinfo=UTC)
TEAL = (15, 118, 110)
GREY = (90, 100, 110)

Prices = list[tuple[str, str, str]]

GENERAL: Prices = [
    ("Consulta de valoración inicial con diagnóstico", "$60.000", "30 minutos"),
    ("Limpieza dental (profilaxis)", "$130.000", "45 minutos"),
    ("Limpieza profunda por cuadrante (curetaje)", "$220.000", "60 minutos"),
    ("Aplicación de flúor", "$45.000", "15 minutos"),
    ("Resina de una superficie", "$160.000", "40 minutos"),
    ("Resina de dos o más superficies", "$210.000", "60 minutos"),
    ("Radiografía periapical", "$25.000", "10 minutos"),
    ("Radiografía panorámica", "$80.000", "15 minutos"),
    ("Extracción simple", "$180.000", "40 minutos"),
    ("Extracción de muela del juicio (cordal)", "$420.000", "90 minutos"),
]
SPECIAL: Prices = [
    ("Tratamiento de conducto de un diente anterior (endodoncia)", "$480.000", "90 minutos"),
    ("Tratamiento de conducto de una muela (endodoncia)", "$720.000", "2 horas"),
    ("Corona de porcelana", "$1.250.000", "2 citas"),
    ("Implante dental con corona", "$4.200.000", "4 a 6 meses"),
    ("Prótesis removible completa", "$1.900.000", "4 citas"),
    ("Placa para el bruxismo", "$390.000", "2 citas"),
    ("Blanqueamiento en consultorio", "$650.000", "90 minutos"),
    ("Blanqueamiento en casa", "$420.000", "14 noches"),
    ("Carillas de resina, por diente", "$380.000", "60 minutos"),
]
BRACES: Prices = [
    ("Montaje de brackets metálicos", "$1.400.000", "90 minutos"),
    ("Montaje de brackets de zafiro", "$2.300.000", "90 minutos"),
    ("Control mensual de ortodoncia", "$150.000", "30 minutos"),
    ("Alineadores invisibles, tratamiento completo", "$9.800.000", "8 a 14 meses"),
    ("Retenedores, par", "$360.000", "1 cita"),
]


class _Brochure(FPDF):
    def header(self) -> None:
        self.set_font("helvetica", "B", 10)
        self.set_text_color(*TEAL)
        self.cell(0, 8, "Clínica Dental Los Cedros", new_x="LMARGIN", new_y="NEXT")
        self.set_draw_color(*TEAL)
        self.line(self.l_margin, self.get_y(), self.w - self.r_margin, self.get_y())
        self.ln(4)

    def title_line(self, text: str) -> None:
        self.set_font("helvetica", "B", 20)
        self.set_text_color(*TEAL)
        self.multi_cell(0, 10, text, new_x="LMARGIN", new_y="NEXT")
        self.ln(2)

    def heading(self, text: str) -> None:
        self.ln(2)
        self.set_font("helvetica", "B", 13)
        self.set_text_color(*TEAL)
        self.cell(0, 9, text, new_x="LMARGIN", new_y="NEXT")

    def prose(self, text: str) -> None:
        self.set_font("helvetica", "", 11)
        self.set_text_color(30, 35, 40)
        self.multi_cell(0, 6, text, new_x="LMARGIN", new_y="NEXT")
        self.ln(2)

    def prices(self, rows: Prices) -> None:
        self.set_font("helvetica", "", 10)
        self.set_text_color(30, 35, 40)
        self.set_draw_color(205, 213, 219)
        style = FontFace(emphasis="BOLD", color=(255, 255, 255), fill_color=TEAL)
        with self.table(
            rows=[("Tratamiento", "Precio", "Duración"), *rows],
            col_widths=(100, 35, 35),
            text_align=("LEFT", "RIGHT", "LEFT"),
            headings_style=style,
            line_height=6.5,
            padding=1,
        ):
            pass
        self.ln(2)


def write_prices(path: Path) -> None:
    """Write the price list, a PDF of four pages."""
    pdf = _Brochure(format="letter")
    pdf.set_creation_date(WRITTEN)
    pdf.set_title("Tarifas y tratamientos 2026")
    pdf.set_author("Clínica Dental Los Cedros")
    pdf.set_lang("es-CO")
    _page_general(pdf)
    _page_special(pdf)
    _page_braces(pdf)
    _page_insurance(pdf)
    pdf.output(str(path))


def _page_general(pdf: _Brochure) -> None:
    pdf.add_page()
    pdf.title_line("Tarifas y tratamientos 2026")
    pdf.prose(
        "Estos precios rigen del 1 de enero al 31 de diciembre de 2026 en nuestras dos sedes de "
        "Bogotá. Están en pesos colombianos e incluyen los materiales y el IVA cuando corresponde. "
        "El valor de la valoración inicial se descuenta si empiezas el tratamiento dentro de los "
        "30 días siguientes."
    )
    pdf.heading("Odontología general")
    pdf.prices(GENERAL)
    pdf.prose(
        "Recomendamos una limpieza dental cada seis meses. Después de la limpieza puedes comer de "
        "inmediato, pero espera dos horas si te aplicamos flúor. La extracción incluye el control "
        "y el retiro de los puntos a los ocho días."
    )


def _page_special(pdf: _Brochure) -> None:
    pdf.add_page()
    pdf.heading("Estética y rehabilitación")
    pdf.prices(SPECIAL)
    pdf.prose(
        "El blanqueamiento dura entre uno y dos años según tus hábitos. No lo hacemos en mujeres "
        "embarazadas ni en menores de 18 años. Durante las primeras 48 horas evita el café, el "
        "vino tinto y el cigarrillo."
    )
    pdf.prose(
        "El implante dental se hace en dos etapas: primero se coloca el tornillo de titanio con "
        "anestesia local y, cuando el hueso ha cicatrizado, se pone la corona. Antes de la cirugía "
        "pedimos una tomografía, que se toma en un centro aliado y no está incluida en el precio."
    )


def _page_braces(pdf: _Brochure) -> None:
    pdf.add_page()
    pdf.heading("Ortodoncia")
    pdf.prices(BRACES)
    pdf.prose(
        "Un tratamiento de ortodoncia con brackets dura en promedio 18 meses y necesita un control "
        "cada cuatro semanas. Si se despega un bracket, la primera reposición es gratis y las "
        "siguientes cuestan $35.000 cada una."
    )
    pdf.heading("Odontopediatría")
    pdf.prose(
        "Atendemos niños pequeños y de cualquier edad, desde que sale el primer diente. La "
        "consulta de niños cuesta $70.000 e incluye la enseñanza del cepillado. Los sellantes "
        "valen $40.000 por diente. Para niños muy nerviosos ofrecemos sedación con óxido nitroso "
        "por $190.000 la sesión."
    )
    pdf.heading("Sedación y anestesia")
    pdf.prose(
        "La anestesia local está incluida en todos los tratamientos. La sedación consciente para "
        "adultos cuesta $350.000 y exige venir en ayunas de seis horas y con un acompañante."
    )


def _page_insurance(pdf: _Brochure) -> None:
    pdf.add_page()
    pdf.heading("Seguros y convenios")
    pdf.prose(
        "Tenemos convenio con Seguros Andina, Salud Cordillera y MediPlus Prepagada. Con el plan "
        "de Seguros Andina la limpieza dental y la valoración no tienen costo, dos veces al año. "
        "Salud Cordillera cubre el 50 % de las resinas y de las extracciones. MediPlus Prepagada "
        "funciona por reembolso: pagas en la clínica y te entregamos la factura y la historia "
        "clínica."
    )
    pdf.prose(
        "No atendemos por EPS ni por el plan de beneficios en salud. Para usar tu convenio trae el "
        "documento de identidad y el carné vigente o su versión digital."
    )
    pdf.heading("Descuentos")
    pdf.prose(
        "Los mayores de 60 años tienen un 15 % de descuento en odontología general. Los "
        "estudiantes con carné vigente tienen un 10 %. Las familias de tres o más pacientes "
        "activos reciben un 12 % en ortodoncia. Los descuentos no se suman entre sí ni con los "
        "convenios."
    )
    pdf.heading("Equipo profesional")
    pdf.prose(
        "La doctora Mariana Quintero dirige la clínica y es especialista en rehabilitación oral. "
        "El doctor Felipe Arango hace la ortodoncia, la doctora Luisa Pardo atiende a los niños y "
        "el doctor Andrés Vélez hace las endodoncias y los implantes."
    )


POLICIES: list[tuple[str, list[str]]] = [
    (
        "Reserva de citas",
        [
            "Puedes pedir tu cita por este chat, por teléfono o en la recepción de cualquiera de "
            "las sedes. Te confirmamos por mensaje el día anterior. Llega diez minutos antes de la "
            "hora para actualizar tus datos.",
            "La primera cita siempre es una valoración: el odontólogo revisa tu boca, toma las "
            "imágenes necesarias y te entrega un plan de tratamiento con precios por escrito.",
        ],
    ),
    (
        "Cancelaciones y cambios",
        [
            "Puedes cancelar o cambiar tu cita sin costo hasta 24 horas antes. Si cancelas con "
            "menos tiempo o no asistes, cobramos $40.000 por la reserva del consultorio.",
            "Si llegas más de 15 minutos tarde, es posible que tengamos que reprogramar la cita. "
            "Después de tres inasistencias, las siguientes citas se reservan con pago anticipado.",
        ],
    ),
    (
        "Formas de pago",
        [
            "Recibimos estos medios de pago: efectivo, tarjetas débito y crédito, transferencia "
            "por PSE, Nequi y Daviplata. No recibimos cheques ni dólares.",
            "Los tratamientos de más de $1.000.000 se pueden pagar en cuotas: 30 % al empezar y el "
            "saldo hasta en 12 cuotas mensuales sin intereses, con la aprobación de nuestro aliado "
            "financiero. Emitimos factura electrónica en todos los casos.",
        ],
    ),
]
GUARANTEES: list[tuple[str, str]] = [
    ("Resinas", "1 año"),
    ("Coronas y prótesis", "2 años"),
    ("Implante dental", "5 años"),
    ("Carillas de resina", "18 meses"),
]
MORE_POLICIES: list[tuple[str, list[str]]] = [
    (
        "Reembolsos",
        [
            "Si pagaste por adelantado y decides no seguir, te devolvemos el dinero de lo que no "
            "se ha hecho dentro de los 15 días hábiles siguientes a tu solicitud, por el mismo "
            "medio de pago. No hay devolución por trabajos de laboratorio ya encargados.",
        ],
    ),
    (
        "Menores de edad",
        [
            "Los menores de 18 años deben venir con su padre, su madre o un adulto autorizado por "
            "escrito. El acompañante firma el consentimiento y permanece en la sede durante toda "
            "la cita. Solo un acompañante puede entrar al consultorio.",
        ],
    ),
    (
        "Embarazo y enfermedades",
        [
            "Avísanos si estás embarazada, si tomas anticoagulantes o si tienes diabetes, "
            "hipertensión o alergia a algún medicamento. En el embarazo preferimos hacer los "
            "tratamientos entre el cuarto y el sexto mes y evitamos los rayos X.",
        ],
    ),
    (
        "Datos personales e historia clínica",
        [
            "Tratamos tus datos según la Ley 1581 de 2012. Guardamos la historia clínica durante "
            "15 años y no compartimos tus datos con terceros sin tu autorización. Puedes pedir una "
            "copia de tu historia clínica gratis: la entregamos en tres días hábiles.",
            "Para consultar, corregir o borrar tus datos escribe a datos@loscedros.example. "
            "Respondemos en diez días hábiles.",
        ],
    ),
    (
        "Quejas y sugerencias",
        [
            "Escríbenos a servicio@loscedros.example o deja tu comentario en el buzón de la "
            "recepción. Contestamos todas las quejas en cinco días hábiles.",
        ],
    ),
]


def write_policies(path: Path) -> None:
    """Write the policies, a Word document with headings and a table."""
    document = docx.Document()
    properties = document.core_properties
    properties.title = "Políticas de citas y pagos"
    properties.author = "Clínica Dental Los Cedros"
    properties.created = properties.modified = WRITTEN
    document.add_heading("Políticas de citas y pagos", level=0)
    document.add_paragraph(
        "Clínica Dental Los Cedros, Bogotá. Estas políticas aplican en las dos sedes desde enero "
        "de 2026."
    )
    _sections(document, POLICIES)
    document.add_heading("Garantías", level=1)
    document.add_paragraph(
        "La garantía cubre los defectos del material y del trabajo si asistes a los controles. No "
        "cubre golpes ni el daño por no usar la placa recomendada."
    )
    table = document.add_table(rows=1, cols=2, style="Light Grid Accent 1")
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "Tratamiento", "Garantía"
    for treatment, length in GUARANTEES:
        cells = table.add_row().cells
        cells[0].text, cells[1].text = treatment, length
    _sections(document, MORE_POLICIES)
    stream = io.BytesIO()
    document.save(stream)
    _write_with_fixed_dates(stream, path)


def _write_with_fixed_dates(archive: io.BytesIO, path: Path) -> None:
    """Write the same ZIP with fixed dates, which python-docx takes from the clock."""
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            fixed = zipfile.ZipInfo(entry.filename, WRITTEN.timetuple()[:6])
            target.writestr(fixed, source.read(entry), zipfile.ZIP_DEFLATED)


def _sections(document: docx.document.Document, sections: list[tuple[str, list[str]]]) -> None:
    for heading, paragraphs in sections:
        document.add_heading(heading, level=1)
        for paragraph in paragraphs:
            document.add_paragraph(paragraph)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_prices(FOLDER / "Tarifas y tratamientos 2026.pdf")
    write_policies(FOLDER / "Políticas de citas y pagos.docx")

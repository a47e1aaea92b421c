\set n random(0, :customers - 1)
\set c :n % 20
insert into bench.twin (company_id, conversation_id, chatbot_id, channel_account_id, seq, external_message_id, sender_type, message_type, content, status) values (bench.id(1, :c), bench.id(5, :n), bench.id(3, :c), bench.id(4, :c), nextval('bench.number'), 'y' || nextval('bench.number'), 'end_user', 'text', 'Hola, ¿a qué hora abren hoy? Quisiera pedir una cita para mañana.', 'delivered');

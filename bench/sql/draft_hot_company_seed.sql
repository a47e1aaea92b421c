-- One company of the founding design, with as many conversations as ours has in the same measurement.
insert into companies (id, name, slug, email)
values ('00000000-0000-7000-8001-000000000000', 'c', 'c', 'c@bench.example');
insert into users (id, company_id, email, first_name, last_name, role)
values ('00000000-0000-7000-8002-000000000000', '00000000-0000-7000-8001-000000000000',
  'o@bench.example', 'o', 'o', 'owner');
insert into chatbots (id, company_id, name, system_prompt, created_by)
values ('00000000-0000-7000-8003-000000000000', '00000000-0000-7000-8001-000000000000', 'b', 'p',
  '00000000-0000-7000-8002-000000000000');
insert into conversations (id, company_id, chatbot_id, end_user_id, channel)
select ('00000000-0000-7000-8007-' || lpad(to_hex(n), 12, '0'))::uuid,
  '00000000-0000-7000-8001-000000000000', '00000000-0000-7000-8003-000000000000', 'w' || n, 'whatsapp'
from generate_series(0, {chats} - 1) n;

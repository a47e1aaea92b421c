-- migrate:up
-- What each plan allows, the templates that bots start from, and the measures of the platform itself.
set local role neurant_owner;

create table public.plans (
  plan public.subscription_plan_enum primary key,
  rank smallint not null unique,
  monthly_message_limit integer not null check (monthly_message_limit >= -1),
  max_chatbots integer not null check (max_chatbots >= -1),
  max_users integer not null check (max_users >= -1),
  max_integrations integer not null check (max_integrations >= -1),
  max_document_characters integer not null check (max_document_characters >= -1),
  max_storage_mb integer not null check (max_storage_mb >= -1),
  max_hitl_concurrent integer not null check (max_hitl_concurrent >= -1),
  monthly_price_usd decimal(10, 2) check (monthly_price_usd >= 0),
  channels public.conversation_channel_enum[] not null
);
comment on table public.plans is
  'Platform table: the catalogue. A company''s own limits are copied from it when its plan changes; -1 is unlimited.';
comment on column public.plans.monthly_price_usd is 'Null: not for sale by catalogue, talk to us.';
insert into public.plans values
  ('free', 1, 500, 1, 2, 0, 0, 0, 0, 0, '{whatsapp,web}'),
  ('starter', 2, 3000, 2, 3, 1, 50000, 5, 1, 39, '{whatsapp,telegram,web}'),
  ('professional', 3, 8000, 3, 8, 3, 250000, 20, 3, 89, '{whatsapp,telegram,slack,web}'),
  ('business', 4, 20000, 6, 15, 6, 750000, 50, 6, null, '{whatsapp,telegram,slack,web}'),
  ('enterprise', 5, -1, -1, -1, -1, -1, -1, 25, null, '{whatsapp,telegram,slack,web}');

create table public.chatbot_templates (
  id uuid primary key default uuidv7(),
  name varchar(255) not null unique,
  description text not null,
  industry varchar(100) not null,
  category varchar(100) not null check (category in ('customer_service', 'sales', 'support')),
  system_prompt_template text not null,
  default_personality jsonb default '{}' check (jsonb_typeof(default_personality) = 'object'),
  recommended_settings jsonb default '{}' check (jsonb_typeof(recommended_settings) = 'object'),
  usage_count integer not null default 0 check (usage_count >= 0),
  is_featured boolean not null default false,
  is_active boolean not null default true,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  example_conversations jsonb default '[]' check (jsonb_typeof(example_conversations) = 'array')
);
comment on table public.chatbot_templates is 'Platform table: every company reads it, migrations write it.';
insert into public.chatbot_templates
  (name, description, industry, category, is_featured, system_prompt_template, default_personality,
    recommended_settings, example_conversations)
values
  ('Atención al cliente', 'Responde las preguntas de todos los días con tus documentos y llama a una persona cuando hace falta.',
    'general', 'customer_service', true,
    'Eres {{persona}}, del equipo de atención de {{company_name}}. Responde con calidez y en pocas frases, solo con lo que dicen los documentos de la empresa. Si no está ahí, dilo y ofrece hablar con una persona.',
    '{"tone": "friendly", "style": "professional"}',
    '{"hitl_triggers": ["no_answer", "user_request", "keywords"], "hitl_trigger_keywords": ["reclamo", "queja"]}',
    '[{"user": "¿Hasta qué hora atienden hoy?", "bot": "Hoy atendemos de 8:00 a 18:00. ¿Te ayudo con algo más?"}]'),
  ('Ventas', 'Presenta tus productos, resuelve dudas de precio y pasa a un vendedor a quien quiere comprar.',
    'comercio', 'sales', true,
    'Eres {{persona}}, asesor de ventas de {{company_name}}. Entiende qué busca la persona, responde con los datos de los documentos y, cuando quiera comprar, ofrece pasarla con un vendedor.',
    '{"tone": "friendly", "style": "helpful"}',
    '{"hitl_triggers": ["user_request", "keywords"], "hitl_trigger_keywords": ["comprar", "cotización"]}',
    '[{"user": "¿Tienen envío a Medellín?", "bot": "Sí, llega en dos días hábiles. ¿Qué producto te interesa?"}]'),
  ('Reserva de citas', 'Explica servicios, requisitos y horarios, y pasa a recepción a quien quiere reservar.',
    'salud', 'support', true,
    'Eres {{persona}}, de la recepción de {{company_name}}. Explica servicios, requisitos y horarios según los documentos. Para reservar o mover una cita, pasa la conversación a una persona.',
    '{"tone": "formal", "style": "professional"}',
    '{"hitl_triggers": ["no_answer", "user_request", "keywords"], "hitl_trigger_keywords": ["reservar", "cancelar cita"]}',
    '[{"user": "¿Necesito ayuno para el examen?", "bot": "Sí, ocho horas. ¿Quieres que te pase con recepción para reservar?"}]');

alter table public.chatbots
  add column template_id uuid references public.chatbot_templates (id);
create index chatbots_template_idx on public.chatbots (template_id) where template_id is not null;

create function private.count_template_use() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  update public.chatbot_templates t set usage_count = t.usage_count + 1 where t.id = new.template_id;
  return null;
end $$;
comment on function private.count_template_use() is
  'How many bots began from a template. Definer: nobody who serves traffic may write templates.';
create trigger count_template_use after insert on public.chatbots
  for each row when (new.template_id is not null) execute function private.count_template_use();

create table public.system_metrics (
  id uuid primary key default uuidv7(),
  "timestamp" timestamptz not null default now(),
  metric_type varchar(100) not null,
  value decimal(15, 6) not null,
  unit varchar(50),
  labels jsonb default '{}' check (jsonb_typeof(labels) = 'object'),
  company_id uuid references public.companies (id),
  chatbot_id uuid,
  foreign key (company_id, chatbot_id) references public.chatbots (company_id, id),
  check (chatbot_id is null or company_id is not null)
);
comment on table public.system_metrics is
  'Platform table: measures of the system; those of one company are shown to its owner and administradores.';
create index system_metrics_newest_idx on public.system_metrics (metric_type, "timestamp" desc);
create index system_metrics_company_idx on public.system_metrics (company_id, chatbot_id, "timestamp" desc)
  where company_id is not null;

create function private.record_metric(
  p_type text, p_value numeric, p_unit text default null, p_labels jsonb default '{}',
  p_company uuid default null, p_chatbot uuid default null)
returns void
language sql volatile security definer set search_path = '' as $$
  insert into public.system_metrics (metric_type, value, unit, labels, company_id, chatbot_id)
  values (p_type, p_value, p_unit, p_labels, p_company, p_chatbot)
$$;
comment on function private.record_metric(text, numeric, text, jsonb, uuid, uuid) is
  'Writes one measure. Definer: the worker''s login measures for all companies and may read none.';

alter table public.plans enable row level security, force row level security;
alter table public.chatbot_templates enable row level security, force row level security;
alter table public.system_metrics enable row level security, force row level security;
create policy everybody_select on public.plans for select
  to authenticated, neurant_worker, neurant_router using (true);
create policy everybody_select on public.chatbot_templates for select
  to authenticated, neurant_worker, neurant_router using (true);
create policy router_update on public.chatbot_templates for update to neurant_router using (true) with check (true);
create policy staff_select on public.system_metrics for select to authenticated
  using (company_id = (select private.company_id()) and (select private.manages_company()));
create policy router_insert on public.system_metrics for insert to neurant_router with check (true);
grant select on public.plans, public.chatbot_templates to authenticated, neurant_worker, neurant_router;
grant update (usage_count) on public.chatbot_templates to neurant_router;
grant select on public.system_metrics to authenticated;
grant insert on public.system_metrics to neurant_router;
grant insert (template_id) on public.chatbots to authenticated;

create trigger set_updated_at before update on public.chatbot_templates
  for each row execute function private.update_updated_at_column();

grant execute on function private.record_metric(text, numeric, text, jsonb, uuid, uuid) to neurant_jobs;
alter function private.count_template_use() owner to neurant_router;
alter function private.record_metric(text, numeric, text, jsonb, uuid, uuid) owner to neurant_router;

reset role;
-- migrate:down

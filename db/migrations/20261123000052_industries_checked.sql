-- migrate:up
-- Industries are of the list; what the migrations before wrote keeps to the rules of templates and bots.
set local role neurant_owner;

alter table public.chatbot_templates
  add constraint chatbot_templates_industry_fkey
    foreign key (industry) references public.industries (industry) not valid,
  add constraint chatbot_templates_text_check
    check (private.is_template_text(system_prompt_template)) not valid,
  add constraint chatbot_templates_personality_check
    check (private.is_personality(default_personality)) not valid,
  add constraint chatbot_templates_hours_check
    check (coalesce(private.is_working_hours(recommended_settings -> 'working_hours'), true)) not valid,
  add constraint chatbot_templates_examples_check
    check (private.is_conversations(example_conversations)) not valid;
create index chatbot_templates_industry_idx on public.chatbot_templates (industry);
alter table public.companies
  add constraint companies_industry_fkey
    foreign key (industry) references public.industries (industry) not valid;

reset role;

alter table public.chatbot_templates validate constraint chatbot_templates_industry_fkey;
alter table public.chatbot_templates validate constraint chatbot_templates_text_check;
alter table public.chatbot_templates validate constraint chatbot_templates_personality_check;
alter table public.chatbot_templates validate constraint chatbot_templates_hours_check;
alter table public.chatbot_templates validate constraint chatbot_templates_examples_check;
alter table public.companies validate constraint companies_industry_fkey;
alter table public.companies validate constraint companies_logo_check;
alter table public.companies validate constraint companies_website_check;
alter table public.chatbots validate constraint chatbots_hours_check;
alter table public.chatbots validate constraint chatbots_traits_check;
alter table public.chatbots validate constraint chatbots_avatar_check;
alter table public.chatbots validate constraint chatbots_prompt_check;
alter table public.chatbots validate constraint chatbots_triggers_check;
-- migrate:down
